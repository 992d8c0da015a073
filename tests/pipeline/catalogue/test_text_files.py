"""Text tables that go wrong: csv, lines of JSON, what is packed, and damage told as damage."""

import csv
import gzip
import json

import pytest

from pipeline.catalogue.json_files import _JsonCopy
from pipeline.cli.failures import exit_status
from pipeline.errors import InputError
from tests.pipeline.catalogue.cases import INTERACTIONS, ITEMS, PAIRS, checked, items_of, pairs_of, shop, write


def csv_shop(folder, text):
    (folder / "items.csv").write_text(text, encoding="utf-8", newline="")
    return shop(folder, items="items.csv")


def json_shop(folder, *lines):
    (folder / "items.jsonl").write_text("\n".join(lines))
    return shop(folder, items="items.jsonl")


@pytest.mark.parametrize(
    "title", ['tablet 5" black', 'tv 42" wall', '5"', 'a"b"c', "it's", "back\\slash", 'say \\"hi\\" x', "tab\there"]
)
def test_csv_quote_within_an_unquoted_field_is_read_as_it_stands(tmp_path, title):
    config = csv_shop(tmp_path, f"item_id,title\nA1,{title}\nA2,title 2\n")
    assert items_of(config) == {"item_id": ["A1", "A2"], "title": [title, "title 2"]}


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('A1,"The \\"Best\\" tablet"\nA2,title 2\nA3,"5\\" screen"\nA4,title 4\n', 2),
        ('A1,plain\nA2,"5\\" screen"\nA3,title 3\nA4,"7\\" screen"\n', 3),
        ('A1,"x" y\n', 2),
        ('A1,""x""\n', 2),
        ('A1,x\nA2,"never closed\nA3,z\n', 4),
        ('A1,"tablet 5\\""\nA2,title 2\nA3,"x"\n', 4),
    ],
)
def test_csv_quote_where_none_can_be_is_refused_and_no_rows_are_merged(tmp_path, body, line):
    with pytest.raises(InputError, match=rf"items\.csv, line {line}: a quote .*doubled \(Spark"):
        checked(csv_shop(tmp_path, "item_id,title\n" + body))


@pytest.mark.parametrize("body", ['A1,"a\\""\nA2,"\nx,y"\n', 'A1,"a\\""\r\nA2,"\r\nx,y"\r\n'])
def test_csv_rows_that_differ_by_how_quotes_are_escaped_are_refused(tmp_path, body):
    """By doubled quotes A2 stands in the title of A1."""
    with pytest.raises(InputError, match=r"items\.csv, line 3: a value of several lines has a backslash"):
        checked(csv_shop(tmp_path, "item_id,title\n" + body))


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_any_strict_writer_is_read_as_written(tmp_path, quoting, end):
    titles = ['a "b" c', "x, y", "two\nlines", "trailing \\", '\\"', " blank ", "é 猫", '""', "'", ",", None]
    with (tmp_path / "items.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator=end)
        writer.writerows([["item_id", "title"], *([f"A{row}", title] for row, title in enumerate(titles))])
    assert items_of(shop(tmp_path, items="items.csv"))["title"] == titles


@pytest.mark.parametrize(
    ("line", "found"),
    [("A2", "1 columns"), ("A2,x,y", "3 columns"), ('A2,"x",', "3 columns"), ("A2,1,50", "3 columns")],
)
def test_csv_row_of_another_width_is_refused_with_its_line(tmp_path, line, found):
    with pytest.raises(InputError, match=rf"items\.csv, line 3: {found}, the header has 2"):
        checked(csv_shop(tmp_path, f"item_id,title\nA1,x\n{line}\nA3,z\n"))


def test_csv_column_called_twice_is_refused_where_it_is_used(tmp_path):
    for name in ("title", "item_id"):
        with pytest.raises(InputError, match=rf"items.csv, column {name}: .* Struct.*several columns of this name"):
            checked(csv_shop(tmp_path, f"item_id,title,{name}\nA1,x,y\n"))
    config = csv_shop(tmp_path, "item_id,title,note,note\nA1,x,y,z\n")
    assert items_of(config) == {"item_id": ["A1"], "title": ["x"]}


def test_csv_column_without_a_name_takes_no_other_ones(tmp_path):
    assert items_of(csv_shop(tmp_path, ",item_id,,title\n0,A1,z,x\n"))["title"] == ["x"]
    found = items_of(csv_shop(tmp_path, "item_id,,column 2\nA1,x,y\n"))
    assert (found["item_id"], found["column 2"]) == (["A1"], ["y"])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_header_with_a_line_break_is_read(tmp_path, end):
    config = csv_shop(tmp_path, f'{end}item_id,"Price{end}(EUR)",title{end}A1,3,x{end}A2,,"y{end}z"{end}')
    found = items_of(config)
    assert list(found) == ["item_id", f"Price{end}(EUR)", "title"]
    assert found["title"] == ["x", f"y{end}z"]


@pytest.mark.parametrize("text", ["item_id,title", "item_id,title\n", "\ufeffitem_id,title\r\n\r\n"])
def test_csv_part_with_a_header_alone_has_no_rows(tmp_path, text):
    write(tmp_path / "items/a.csv", ITEMS)
    (tmp_path / "items/b.csv").write_text(text, encoding="utf-8", newline="")
    assert items_of(shop(tmp_path, items="items")) == ITEMS


def test_csv_values_are_as_long_as_a_block(tmp_path):
    before, long = csv.field_size_limit(), "x" * 200_000
    assert items_of(csv_shop(tmp_path, f'item_id,title\nA1,{long}\nA2,"y ""z"""\n'))["title"] == [long, 'y "z"']
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_csv_of_another_separator_is_told_so(tmp_path, separator):
    with pytest.raises(InputError, match=r"items\.csv, line 1: .* as if '.*' were the separator"):
        checked(csv_shop(tmp_path, f"item_id{separator}title\nA1{separator}x, y\n"))


def packed(columns, suffix, folder):
    return gzip.compress(write(folder / f"plain{suffix}", columns).read_bytes(), mtime=0)


def flipped(payload, place):
    return payload[:place] + bytes([payload[place] ^ 0x10]) + payload[place + 1 :]


DAMAGES = {
    "cut": lambda payload: payload[: len(payload) * 2 // 3],
    "cut by a byte": lambda payload: payload[:-1],
    "cut in the header": lambda payload: payload[:6],
    "flipped": lambda payload: flipped(payload, len(payload) // 2),
    "flipped checksum": lambda payload: flipped(payload, -6),
    "flipped first byte": lambda payload: flipped(payload, 0),
    "not packed": gzip.decompress,
    "more behind": lambda payload: payload + b"rubbish",
}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_packed_file_that_is_damaged_is_told_so(tmp_path, suffix, damage, capsys):
    payload = DAMAGES[damage](packed(INTERACTIONS, suffix, tmp_path))
    (tmp_path / f"inter{suffix}.gz").write_bytes(payload)
    config = shop(tmp_path, interactions=f"inter{suffix}.gz")
    assert exit_status(lambda: checked(config) and 0) == 2
    assert f"inter{suffix}.gz is damaged or not a gzip file" in capsys.readouterr().err


def test_packed_file_under_the_name_of_a_plain_one_is_told_so(tmp_path):
    for suffix in (".csv", ".jsonl"):
        (tmp_path / f"x{suffix}").write_bytes(packed(ITEMS, suffix, tmp_path))
        with pytest.raises(InputError, match="packed by gzip; give it a name"):
            checked(shop(tmp_path, items=f"x{suffix}"))


def test_packed_members_one_after_the_other_are_one_file(tmp_path):
    body = write(tmp_path / "x.csv", INTERACTIONS).read_bytes()
    lines = body.splitlines(keepends=True)
    (tmp_path / "inter.csv.gz").write_bytes(gzip.compress(b"".join(lines[:5])) + gzip.compress(b"".join(lines[5:])))
    assert pairs_of(shop(tmp_path, interactions="inter.csv.gz")) == PAIRS


@pytest.mark.parametrize("place", ["price", "title", "tags"])
def test_json_nan_is_null(tmp_path, place):
    plain = {"item_id": "A1", "title": "x", "price": 3.5, "tags": ["t"]}
    odd = json.dumps(plain | {"item_id": "A2", place: float("nan")})
    found = items_of(json_shop(tmp_path, json.dumps(plain), odd))
    assert "NaN" in odd
    assert found[place] == [plain[place], None]
    assert items_of(json_shop(tmp_path, json.dumps(plain | {"tags": ["t", float("nan")]})))["tags"] == [["t"]]


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
def test_json_infinity_is_refused_with_its_line(tmp_path, value):
    with pytest.raises(InputError, match=r"items\.jsonl, line 2: holds -?Infinity, which is not a number"):
        checked(json_shop(tmp_path, '{"item_id": "A1"}', json.dumps({"item_id": "A2", "title": "x", "n": value})))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"item_id": "A2"', "is not JSON"),
        ("{'item_id': 'A2'}", "is not JSON"),
        ('["A2"]', "is a list"),
        ("7", "is a int"),
        ("[" * 50_000, "is not JSON"),
        ('{"item_id": "A2"} {"item_id": "A3"}', "is not JSON"),
        ('{"item_id": "A2", "item_id": "A3"}', "has the name 'item_id' twice"),
        ('{"item_id": "A2", "a\\ud800": 1}', r"has the name 'a\\ud800', which is not text"),
    ],
)
def test_json_wrong_line_is_named(tmp_path, line, message):
    with pytest.raises(InputError, match=rf"items\.jsonl, line 3: {message}"):
        checked(json_shop(tmp_path, '{"item_id": "A1"}', "", line))


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, 2, None], [1, 2, None]),
        ([1, 2.5, None], [1.0, 2.5, None]),
        (["x", None, "y"], ["x", None, "y"]),
        ([True, None, False], [True, None, False]),
        ([["x", ["y", 3]], None, []], [["x", "y", "3"], None, []]),
        (["x", ["y"], 7], [["x"], ["y"], ["7"]]),
        (["7", 7, True, 7.0], ["7", "7", "true", "7.0"]),
        ([True, 7, 7.0, "x"], ["true", "7", "7.0", "x"]),
        ([7, 1.5, ["x"]], [["7"], ["1.5"], ["x"]]),
        ([2**64, 1, None], ["18446744073709551616", "1", None]),
        ([1.5, 2**53 + 1, None], [1.5, float(2**53), None]),
        ([None, None, None], [None, None, None]),
    ],
)
def test_json_column_has_one_type_whatever_the_batches(tmp_path, monkeypatch, batch, values, found):
    monkeypatch.setattr("pipeline.catalogue.json_files._BATCH", batch)
    lines = [json.dumps({"item_id": f"A{row}", "x": value}) for row, value in enumerate(values)]
    frame = items_of(json_shop(tmp_path, *lines))
    assert list(map(repr, frame["x"])) == list(map(repr, found))


def test_json_ids_that_are_text_here_and_numbers_there_are_text(tmp_path):
    lines = ['{"item_id": "A1"}', '{"item_id": 7}', '{"item_id": 18446744073709551615}']
    assert items_of(json_shop(tmp_path, *lines))["item_id"] == ["A1", "7", "18446744073709551615"]


def test_json_list_of_any_depth_is_read(tmp_path):
    deep = "[" * 500 + '"x", 7' + "]" * 500
    assert items_of(json_shop(tmp_path, f'{{"item_id": "A1", "title": {deep}}}'))["title"] == [["x", "7"]]


def test_json_record_widens_a_column_of_earlier_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.catalogue.json_files._BATCH", 1)
    lines = ['{"item_id": "A1", "title": "x"}', '{"item_id": "A2", "title": {"en": "y"}}', '{"item_id": "A3"}']
    config = json_shop(tmp_path, *lines)
    assert "title" not in items_of(config)
    with pytest.raises(InputError, match=r"items\.jsonl, column title: values are Struct.*needs text"):
        checked(config)


def test_json_too_many_names_are_refused(tmp_path):
    with pytest.raises(InputError, match="more than 4,096 names"):
        checked(json_shop(tmp_path, json.dumps({"item_id": "A", **{f"k{n}": 1 for n in range(4096)}})))
    assert _JsonCopy(3) == _JsonCopy(3)
