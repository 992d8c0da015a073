import ast
import contextlib
import dataclasses
import gzip
import json
import warnings

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipeline.catalogue.json_values import RecordError, RepeatedNameError, parse_json
from pipeline.catalogue.sources.fields import identifier, moment, number, text, texts
from pipeline.catalogue.sources.records import RecordKind, parse_literal, scan_records
from pipeline.errors import InputError
from tests.pipeline.catalogue.sources.files import write_lines

NAMED = RecordKind(parse_json, {"item_id": identifier("asin"), "title": text("title"), "tags": texts("tags")})
TIMED = RecordKind(parse_json, {"rating": number("overall"), "timestamp": moment("time", "s")})


def scan(path, kind=NAMED):
    return scan_records(UPath(str(path)), kind)


@pytest.mark.parametrize("name", ["items.json", "items.json.gz"])
def test_scan_records_missing_fields_are_null_and_blank_lines_skipped(tmp_path, name):
    lines = ['{"asin": "a", "title": "é 猫", "tags": [["x", "y"], ["x", null, 3]]}', "", '{"asin": null, "title": ""}']
    frame = scan(write_lines(tmp_path / name, lines)).collect()
    assert frame.rows() == [("a", "é 猫", ["x", "y", "3"]), (None, None, None)]


def test_scan_records_batches_join_to_one_table(tmp_path):
    path = write_lines(tmp_path / "items.json", [json.dumps({"asin": str(row)}) for row in range(10)])
    kind = dataclasses.replace(NAMED, batch=4)
    frame = scan_records(UPath(str(path)), kind)
    assert frame.collect()["item_id"].to_list() == [str(row) for row in range(10)]
    kind(UPath(str(path)), tmp_path)
    assert pq.ParquetFile(tmp_path / "part.parquet").num_row_groups == 3


def test_scan_records_parses_once_and_again_when_the_file_has_changed(tmp_path):
    calls = []

    def parse(line):
        calls.append(line)
        return parse_json(line)

    kind = RecordKind(parse, {"item_id": identifier("asin")})
    path = write_lines(tmp_path / "items.json", ['{"asin": "a"}'])
    assert scan(path, kind).collect().rows() == scan(path, kind).collect().rows() == [("a",)]
    assert len(calls) == 1
    write_lines(path, ['{"asin": "changed"}'])
    assert scan(path, kind).collect().rows() == [("changed",)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"title": "x"}', "there is no 'asin', only title"),
        ("{}", "there is no 'asin', only an empty record"),
        ('{"asin": 7}', "'asin' is 7, expected text"),
        ('["asin"]', "is a list, not a record"),
        ("{'asin': 'a'}", "is not JSON"),
        ('{"asin": "a"', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_scan_records_wrong_line_is_named(tmp_path, line, message):
    path = write_lines(tmp_path / "items.json", ['{"asin": "a"}', "", line])
    with pytest.raises(InputError, match=rf"items\.json, line 3: {message}"):
        scan(path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"overall": "good", "time": 1}, "'overall' is 'good', expected a number"),
        ({"overall": 1, "time": [1]}, r"'time' is \[1\], expected a number"),
        ({"overall": 1, "time": 1_300_000_000_000}, "'time' is 1300000000000, expected a moment in s since 1970"),
        ({"overall": 1}, "there is no 'time', only overall"),
    ],
)
def test_scan_records_wrong_value_is_named(tmp_path, record, message):
    with pytest.raises(InputError, match=rf"x\.json, line 1: {message}"):
        scan(write_lines(tmp_path / "x.json", [json.dumps(record)]), TIMED)


def test_scan_records_damaged_files_are_named_with_the_last_good_line(tmp_path):
    whole = gzip.compress(b"".join(b'{"asin": "%d"}\n' % (row * 7919) for row in range(20_000)))
    (tmp_path / "cut.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.json\.gz is damaged .*ended before.*fetch it again"):
        scan(tmp_path / "cut.json.gz")
    (tmp_path / "plain.json.gz").write_bytes(b'{"asin": "a"}\n')
    with pytest.raises(InputError, match=r"plain\.json\.gz is damaged or not a gzip file \(Not a gzipped file"):
        scan(tmp_path / "plain.json.gz")
    (tmp_path / "latin.json").write_bytes(b'{"asin": "a"}\n{"asin": "\xe9"}\n')
    with pytest.raises(InputError, match=r"latin\.json, line 2, byte 24: b'\\xe9' is not UTF-8"):
        scan(tmp_path / "latin.json")
    long = write_lines(tmp_path / "long.json", ['{"asin": "a"}', "x" * 100])
    with pytest.raises(InputError, match=r"long\.json, line 2: longer than 64 bytes"):
        scan_records(UPath(str(long)), dataclasses.replace(NAMED, line_limit=64))


def test_parse_literal_reads_what_python_writes():
    record = {"asin": "B1", "t": 'it\'s "é" 猫\n', "none": None, "yes": True, "n": [-1.5, (2,)], "d": {"k": {"a"}}}
    assert parse_literal(repr(record)) == record
    assert parse_literal("{u'a': u'\\u2022', \"b\": 'x' 'y'}") == {"a": "•", "b": "xy"}


@pytest.mark.parametrize(
    "line",
    [
        "__import__('pathlib').Path('{proof}').touch()",
        "{{'asin': __import__('pathlib').Path('{proof}').touch()}}",
        "{{'asin': 'a', 'title': [open('{proof}', 'w').close() for _ in (1,)]}}",
        "{{'asin': f\"{{open('{proof}', 'w').close()}}\"}}",
        "(lambda: open('{proof}', 'w').close())()",
    ],
)
def test_scan_records_code_in_a_literal_is_refused_and_not_run(tmp_path, line):
    proof = tmp_path / "proof"
    code = line.format(proof=proof)
    path = write_lines(tmp_path / "items.json", ["{'asin': 'a'}", code])
    with pytest.raises(InputError, match=r"items\.json, line 2: is not a Python dict of plain values"):
        scan(path, RecordKind(parse_literal, {"item_id": identifier("asin")}))
    assert not proof.exists()
    eval(code)
    assert proof.exists(), "the line would not have run anyway"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(_VALUES)
def test_parse_literal_undoes_repr(value):
    assert parse_literal(repr(value)) == value


@settings(max_examples=1000)
@given(st.text(alphabet="'\"{}[]():,\\\\ab1-.#\t", max_size=12))
def test_parse_literal_agrees_with_ast_on_any_line(line):
    """The shortcut through JSON takes nothing that is no literal, and gives nothing else than the literal's value.

    What is JSON as it stands is JSON. Records with a name twice are refused in either.
    """
    try:
        parse_literal(line)
    except RepeatedNameError:
        return
    except RecordError:
        pass
    with contextlib.suppress(ValueError):
        expected = json.loads(line)
        assert parse_literal(line) == expected
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            expected = ast.literal_eval(line)
    except (ValueError, SyntaxError, TypeError):
        with pytest.raises(RecordError):
            parse_literal(line)
    else:
        assert repr(parse_literal(line)) == repr(expected)


@pytest.mark.parametrize("line", ["{'a': nan}", "{[]: 1}", "{'a': 1", "-" * 50_000 + "1", "[" * 5_000, "'" + "\0"])
def test_parse_literal_impossible_line_is_refused(line):
    with pytest.raises(RecordError, match="not a Python dict"):
        parse_literal(line)


@pytest.mark.parametrize(
    "line", ['{"a": 1, "a": 2}', "{'a': 1, 'a': 2}", "{'a': None, 'a': 'x'}", "{'b': ({'a': '\\t', 'a': 2},)}"]
)
def test_parse_literal_name_twice_is_refused_as_in_json(line):
    with pytest.raises(RecordError, match="has the name 'a' twice"):
        parse_literal(line)


def test_text_halves_of_surrogate_pairs_are_joined_and_lone_ones_replaced(tmp_path):
    path = write_lines(tmp_path / "items.json", [r"{'asin': 'a', 'title': '\ud83d\ude00 \ud83d'}"])
    kind = RecordKind(parse_literal, NAMED.fields)
    assert scan(path, kind).collect()["title"].to_list() == ["😀 �"]
