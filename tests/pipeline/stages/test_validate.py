import io
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from upath import UPath

from features.pictures import UnreadableError, decode
from pipeline.catalogue.cleaning import clean_interactions, clean_items
from pipeline.catalogue.pictures import Pictures, Problem, check_pictures
from pipeline.cli import main
from pipeline.cli.show_validation import Validated, show_validation
from pipeline.config.config import compose, load_config
from pipeline.documents import as_document
from pipeline.errors import InputError
from pipeline.registry.checks import Checks
from pipeline.sample import write_sample
from pipeline.stages.validate import check_catalogue
from pipeline.terminal import Terminal

MOVIELENS = Path(os.environ.get("MICROREC_MOVIELENS", Path(__file__).parents[3].parent / "shared/data/movielens"))


def validate(config):
    """The report as JSON has it."""
    return as_document(check_catalogue(config))


def picture(kind="JPEG", size=(40, 30), **options):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Six items and every sort of flaw, each a known number of times."""
    for name, payload in {
        "good.jpg": picture(),
        "cut.jpg": picture()[:200],
        "text.png": b"hello",
        "empty.jpg": b"",
    }.items():
        (tmp_path / name).write_bytes(payload)
    items = {
        "item_id": ["a", "b", "c", "d", "e", "f", "f", ""],
        "title": ["A", None, " ", "D", "E", "F", "F", "none"],
        "image_path": ["good.jpg", "cut.jpg", "text.png", "absent.jpg", None, "", "", "good.jpg"],
    }
    pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    rows = [
        ("u", "a", 5, 10),
        ("u", "a", 4, 20),
        ("u", "b", 4, None),
        ("v", "a", 5, 30),
        ("v", "c", 1, 40),
        ("w", "gone", 5, 50),
        ("w", "lost", 5, 50),
        ("w", "lost", 5, 60),
        (None, "a", 5, 70),
        ("x", "", 5, 80),
    ]
    schema = ["user_id", "item_id", "rating", "timestamp"]
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / "interactions.parquet")
    return tmp_path


def settle(folder, **sections):
    document = {
        "catalogue": {
            "items": "items.parquet",
            "interactions": ["interactions.parquet"],
            "filter": {"min_rating": 2.0},
            **sections.pop("catalogue", {}),
        },
        "modalities": {"image": {"encoder": "efficientnet-lite0"}, "text": {"encoder": "x", "columns": ["title"]}},
        **sections,
    }
    return compose(document, base=folder)


def test_validate_every_flaw_is_counted_and_named(folder):
    report = validate(settle(folder))
    assert report["items"] == {
        "rows": 8,
        "kept": 6,
        "without_id": 1,
        "rows_without_id": [f"{folder}/items.parquet, row 8"],
        "repeated_rows": 1,
        "left_out": 0,
        "not_in_catalogue": 0,
        "without_interactions": 4,
        "id_type": "String",
        "nulls": {"item_id": 1, "title": 1, "image_path": 1},
        "values": {"image_path": 5, "title": 6},
        "words_for_nothing": {"title": {"none": 1}},
    }
    interactions = report["interactions"]
    assert interactions["rows"] == 10
    assert interactions["dropped"] == {
        "without_id": 2,
        "of_unknown_items": 3,
        "below_min_rating": 1,
        "repeated_pairs": 1,
    }
    assert interactions["rows_without_id"] == [f"{folder}/interactions.parquet, row {row}" for row in (9, 10)]
    assert interactions["kept"] == 3
    assert interactions["unknown_items"] == {"count": 2, "ids": ["gone", "lost"]}
    assert interactions["nulls"] == {"user_id": 1, "item_id": 1, "rating": 0, "timestamp": 1}
    assert interactions["timestamps"] == {"first": 10, "last": 30, "missing": 1}
    assert interactions["last_timestamp"] == 80
    assert report["users"] == {"before": 4, "kept": 2, "interactions_per_user": {"min": 1, "median": 1.5, "max": 2}}
    assert report["density"] == pytest.approx(3 / (6 * 2))
    text, image = report["modalities"]["text"], report["modalities"]["image"]
    assert text.items() >= {"content": "text", "usable": 4, "missing": 2, "missing_items": ["b", "c"]}.items()
    assert (text["not_found"], text["unreadable"], text["of_unknown_items"]) == (None, None, None)
    assert (image["usable"], image["missing"], image["missing_items"]) == (1, 2, ["e", "f"])
    assert image["not_found"] == 1
    assert image["not_found_items"][0] == {
        "item_id": "d",
        "image_path": "absent.jpg",
        "problem": "No such file or directory",
    }
    assert image["unreadable"] == 2
    assert [entry["image_path"] for entry in image["unreadable_items"]] == ["cut.jpg", "text.png"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert len(report["warnings"]) == 10


def test_validate_counts_are_those_of_the_clean_tables(folder):
    config = settle(folder)
    report = validate(config)
    items = clean_items(config.open_catalogue())
    assert report["items"]["kept"] == len(items)
    assert report["interactions"]["kept"] == len(clean_interactions(config.open_catalogue(), items))
    assert report["interactions"]["rows"] - sum(report["interactions"]["dropped"].values()) == 3


def test_validate_flawless_catalogue_has_no_warnings(tmp_path):
    pl.DataFrame({"item_id": [1, 2, 3], "title": ["A", "B", "C"]}).write_parquet(tmp_path / "items.parquet")
    pairs = [(user, item) for user in (1, 2) for item in (1, 2, 3)]
    pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").write_parquet(tmp_path / "interactions.parquet")
    modalities = {"text": {"encoder": "x", "columns": ["title"]}}
    report = validate(settle(tmp_path, catalogue={"filter": {}}, modalities=modalities))
    assert report["warnings"] == []
    assert report["interactions"]["timestamps"] is None
    assert report["items"]["id_type"] == "Int64"
    unused = validate(settle(tmp_path, catalogue={"filter": {}, "columns": {"tilte": "title"}}, modalities=modalities))
    assert unused["warnings"] == ["catalogue.columns maps 'tilte', a column that no file has"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"catalogue": {"items": "absent.parquet"}}, r"absent\.parquet does not exist"),
        ({"catalogue": {"filter": {"min_rating": 9.0}}}, "no interaction is left; dropped were .* 5 below min rating"),
        ({"catalogue": {"image_root": "nowhere"}}, r"image_root: .*nowhere does not exist"),
        ({"catalogue": {"columns": {"image_path": "photo"}}}, "needs a column 'image_path'; map yours"),
        (
            {"modalities": {"text": {"encoder": "x", "columns": ["titel"]}}},
            r"items.*: there is no column 'titel', .* is 'title'",
        ),
        ({"split": {"strategy": "given"}}, "split 'given' needs a column 'split' in the interactions"),
        ({"split": {"strategy": "time"}}, "split 'time' needs a 'timestamp' for every interaction"),
    ],
)
def test_validate_impossible_input_is_refused(folder, sections, message):
    with pytest.raises(InputError, match=message):
        validate(settle(folder, **sections))


@pytest.mark.parametrize(
    ("timestamps", "message"),
    [
        (pa.array([10**12] * 10, pa.timestamp("s")), "moments are of the years 33658 to 33658; were they written in"),
        (pa.array([2**63 - 1] * 10, pa.timestamp("us")), "moments are of the years 294247 to 294247"),
        (pa.array([17 * 10**17] * 10, pa.timestamp("ms")), r"interactions\.parquet: cannot be read"),
    ],
)
def test_validate_timestamps_that_python_does_not_have_are_refused(folder, timestamps, message):
    table = pq.read_table(folder / "interactions.parquet").drop_columns("timestamp")
    pq.write_table(table.append_column("timestamp", timestamps), folder / "interactions.parquet")
    with pytest.raises(InputError, match=message):
        validate(settle(folder))


def test_validate_latest_moment_of_a_dropped_row_that_python_does_not_have_is_left_out(folder):
    moments = [10**6] * 9 + [2**63 - 1]  # the last row has no item
    table = pq.read_table(folder / "interactions.parquet").drop_columns("timestamp")
    pq.write_table(
        table.append_column("timestamp", pa.array(moments, pa.timestamp("us"))), folder / "interactions.parquet"
    )
    interactions = validate(settle(folder))["interactions"]
    assert interactions["last_timestamp"] is None
    assert interactions["timestamps"]["last"] == "1970-01-01T00:00:01+00:00"


@pytest.mark.parametrize("odd", [float("inf"), float("nan")])
def test_validate_timestamps_that_are_no_numbers_are_missing(folder, odd):
    values = [10.0, 20.0, odd, *[30.0] * 7]
    table = pl.read_parquet(folder / "interactions.parquet").with_columns(timestamp=pl.Series(values))
    table.write_parquet(folder / "interactions.parquet")
    numbers = validate(settle(folder))["interactions"]["timestamps"]
    table.with_columns(pl.col("timestamp").cast(pl.String)).write_csv(folder / "interactions.csv")
    text = validate(settle(folder, catalogue={"interactions": ["interactions.csv"]}))["interactions"]["timestamps"]
    assert numbers == text == {"first": 10.0, "last": 30.0, "missing": 1}


def test_validate_precomputed_vectors_are_counted(folder):
    np.save(folder / "audio.npy", np.ones((3, 2), dtype=np.float32))
    (folder / "ids.txt").write_text("a\nb\nz\n")
    audio = {"encoder": "precomputed", "vectors": "audio.npy", "ids": "ids.txt"}
    report = validate(settle(folder, modalities={"audio": audio}))
    expected = {"content": "precomputed", "usable": 2, "missing": 4, "of_unknown_items": 1}
    assert report["modalities"]["audio"].items() >= expected.items()
    assert report["modalities"]["audio"]["missing_items"] == ["c", "d", "e", "f"]


def test_validate_modality_without_any_content_is_warned_of(folder):
    (folder / "good.jpg").unlink()
    assert any("none of the 6 items has usable content" in line for line in validate(settle(folder))["warnings"])


def test_check_pictures_agrees_with_the_decoder_of_the_encoders(tmp_path):
    """What validate calls unreadable is what extraction records as unreadable, at reduced size or not."""
    large = picture(size=(900, 700))
    payloads = {
        "whole.jpg": large,
        "progressive.jpg": picture(size=(900, 700), progressive=True),
        "whole.png": picture("PNG"),
        "whole.webp": picture("WEBP"),
        "whole.gif": picture("GIF"),
        "cut.jpg": large[: len(large) // 2],
        "cut-late.jpg": large[:-400],
        "cut-progressive.jpg": picture(size=(900, 700), progressive=True)[:9000],
        "cut.png": picture("PNG")[:900],
        "cut.webp": picture("WEBP")[:300],
        "noise.jpg": bytes(range(256)),
        "page.jpg": b"<html>404</html>",
    }
    for name, payload in payloads.items():
        (tmp_path / name).write_bytes(payload)
    findings = dict(zip(payloads, check_pictures(Pictures(UPath(str(tmp_path))), list(payloads)), strict=True))
    for name, payload in payloads.items():
        try:
            decode(payload)
            readable = True
        except UnreadableError:
            readable = False
        assert (findings[name].problem is None) == readable == name.startswith(("whole", "progressive")), name


def test_check_pictures_kinds_are_told_apart(folder):
    (folder / "sub").mkdir()
    names = ["good.jpg", "absent.jpg", "cut.jpg", None, "", "sub"]
    found = check_pictures(Pictures(UPath(str(folder))), names)
    absent, unreadable = Problem.NOT_FOUND, Problem.UNREADABLE
    assert [one.problem for one in found] == [None, absent, unreadable, None, None, absent]
    assert [one.digest is not None for one in found] == [True, *[False] * 5]


def test_show_validation_shows_counts_names_and_warnings_literally(folder):
    report = check_catalogue(settle(folder))
    report.warnings.append("a [bold]bracket[/] stays")
    console = Terminal(file=io.StringIO(), width=120)
    checks = Checks(verdict="ok", note="there is no [champion]")
    show_validation(Validated.of(report, checks), console)
    shown = console.file.getvalue()
    for text in (
        "items",
        "of 8 rows; ids are text",
        "density 25.000%",
        "'cut.jpg', 'text.png'",
        "a [bold]bracket[/] stays",
        "checks of the input: ok; there is no [champion]",
    ):
        assert text in shown


def test_validate_sample_finds_the_planted_gaps(tmp_path):
    made = write_sample(tmp_path, num_items=40, num_users=30)
    report = validate(load_config(tmp_path / "microrec.toml"))
    image, text = report["modalities"]["image"], report["modalities"]["text"]
    assert (image["not_found"], image["unreadable"]) == (2, 1)
    assert image["usable"] == 40 - made["without_picture"]
    assert text["missing"] == made["without_text"]
    assert report["interactions"]["rows"] == made["interactions"]


def test_validate_command_exit_status_and_json(folder, capsys):
    (folder / "microrec.toml").write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n'
        '[modalities.text]\nencoder = "x"\ncolumns = ["title"]\n'
    )
    command = ["validate", "-c", str(folder / "microrec.toml"), "--json"]
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0
    assert json.loads(capsys.readouterr().out)["items"]["kept"] == 6
    with pytest.raises(SystemExit) as refused:
        main([*command, "--set", "catalogue.items=absent.parquet"])
    assert refused.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "absent.parquet does not exist" in output.err


@pytest.mark.skipif(not MOVIELENS.exists(), reason="the MovieLens data is not here")
def test_validate_movielens_gives_the_figures_of_its_description():
    catalogue = {
        "items": str(MOVIELENS / "items.parquet"),
        "interactions": [str(MOVIELENS / "interactions.parquet")],
        "image_root": str(MOVIELENS),
        "filter": {"min_rating": 4.0},
    }
    text = {"encoder": "x", "columns": ["description"]}
    report = validate(compose({"catalogue": catalogue, "modalities": {"text": text}}, base=Path()))
    assert report["items"]["kept"] == 3883
    assert (report["interactions"]["rows"], report["interactions"]["kept"]) == (663_062, 575_281)
    assert (report["users"]["kept"], report["items"]["kept"] - report["items"]["without_interactions"]) == (6038, 3533)
    assert report["modalities"]["text"]["missing"] == 27
    assert report["interactions"]["timestamps"]["first"].startswith("2000-04-25")
