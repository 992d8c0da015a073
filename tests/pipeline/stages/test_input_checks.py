"""A night whose input has shrunk, emptied or aged ends before anything is computed, and says why."""

import json
import re

import polars as pl
import pytest
from mlflow import MlflowClient

from pipeline import stages
from pipeline.config.config import load_config
from pipeline.opening import open_run
from pipeline.registry.checks import Check, Checks
from pipeline.registry.connection import absolute_uri
from pipeline.release.manifest import read_manifest
from pipeline.sample import write_sample
from pipeline.stages.input_checks import count_input, keep_checks, kept_checks
from pipeline.stages.order import do_stage
from pipeline.stages.register import input_tags
from pipeline.stages.validate import check_catalogue
from tests.commands import microrec
from tests.pipeline.release_factory import make_config, make_run, quiet
from tests.pipeline.tiny import make_tiny

NUM_ITEMS = 60
SETTINGS = ["train.max_epochs=2", "train.device=cpu", "model.embedding_dim=8", "gate.metric=none"]


def call(command, folder, *arguments, settings=()):
    overrides = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return microrec(command, "-c", folder / "microrec.toml", *arguments, *overrides)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The sample, and a champion that was made from it."""
    folder = tmp_path_factory.mktemp("shop")
    write_sample(folder, num_items=NUM_ITEMS, num_users=50)
    done = call("run", folder, "--run-id", "first", "--json")
    assert done.returncode == 0, done.stderr
    return folder


def items(folder, name, change):
    """A copy of the items with a change, as the setting that names it."""
    change(pl.read_parquet(folder / "items.parquet")).write_parquet(folder / f"{name}.parquet")
    return f"catalogue.items={name}.parquet"


def interactions(folder, name, change):
    change(pl.read_parquet(folder / "interactions.parquet")).write_parquet(folder / f"{name}.parquet")
    return f'catalogue.interactions=["{name}.parquet"]'


def cut(share):
    return lambda folder: items(folder, f"cut-{share}", lambda rows: rows.head(int(len(rows) * share)))


def without_pictures(folder):
    (folder / "empty").mkdir(exist_ok=True)
    return "catalogue.image_root=empty"


def blank(column, value):
    """The column's every value replaced."""
    return lambda folder: items(folder, f"blank-{column}", lambda rows: rows.with_columns(pl.lit(value).alias(column)))


def earlier(folder):
    return interactions(
        folder, "earlier", lambda rows: rows.filter(pl.col("timestamp") < pl.col("timestamp").quantile(0.95))
    )


def unknown_items(folder):
    """As many rows again, of items that there are not."""
    return interactions(
        folder, "unknown", lambda rows: pl.concat([rows, rows.with_columns(item_id=pl.lit("gone") + pl.col("item_id"))])
    )


def unrated(folder):
    return interactions(folder, "unrated", lambda rows: rows.drop("rating"))


FAULTS = {
    "half": (cut(0.5), r"items: 60 then, 30 now \(allowed: at least 54\)"),
    "quarter": (cut(0.25), r"items: 60 then, 15 now \(allowed: at least 54\)"),
    "pictures": (without_pictures, r"image, usable: \d\d\.\d\d% then, 0\.00% now \(allowed: at least "),
    "title": (blank("title", " "), r"items, title: \d+ then, 0 now \(allowed: more than none\)"),
    "description": (blank("description", None), r"items, description: \d+ then, 0 now"),
    "earlier": (earlier, r"last timestamp: 20.* then, 20.* now \(allowed: not earlier\)"),
    "unknown": (unknown_items, r"interactions dropped: .* then, .* now \(allowed: at most "),
}


def features(folder):
    return sorted((folder / "microrec-store/features").rglob("*.parquet"))


@pytest.mark.parametrize("fault", FAULTS)
def test_run_input_with_a_fault_is_refused_before_anything_is_computed(shop, fault):
    make, reason = FAULTS[fault]
    before = features(shop), (shop / "microrec-store/champion.json").read_bytes()
    done = call("run", shop, "--run-id", f"bad-{fault}", "--json", settings=[make(shop)])
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    *above, sentence = done.stderr.strip().splitlines()
    assert re.fullmatch(r"microrec: the input is refused: .* the champion first \(.*--accept-change", sentence)
    assert re.search(reason, sentence)
    assert any(line.split()[-1] == "refused" for line in above)
    assert [path.name for path in (shop / f"microrec-store/runs/bad-{fault}").iterdir() if path.is_dir()] == [
        "validate"
    ]
    assert (features(shop), (shop / "microrec-store/champion.json").read_bytes()) == before


def test_validate_input_with_a_fault_prints_its_table_and_exits_3(shop):
    half = FAULTS["half"][0](shop)
    done = call("validate", shop, "--json", settings=[half])
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert report["items"]["kept"] == 30
    assert (report["checks"]["verdict"], report["checks"]["champion"]) == ("refused", "first")
    shown = call("validate", shop, settings=[half])
    assert shown.returncode == 3
    assert re.search(r"items +60 +30 +at least 54 +refused\n", shown.stdout)
    assert shown.stderr.startswith("microrec: the input is refused: ")


def test_validate_accepted_change_exits_0_and_says_accepted(shop):
    done = call("validate", shop, "--accept-change", "--json", settings=[FAULTS["half"][0](shop)])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checks"]["verdict"] == "accepted"


def test_validate_rating_that_is_gone_is_a_column_that_went_empty(shop):
    settings = [unrated(shop)]
    (shop / "unfiltered.toml").write_text(re.sub("min_rating.*", "", (shop / "microrec.toml").read_text()))
    done = microrec("validate", "-c", shop / "unfiltered.toml", "--json", "--set", settings[0])
    assert done.returncode == 3
    rows = {row["name"]: row["verdict"] for row in json.loads(done.stdout)["checks"]["rows"]}
    assert [name for name, verdict in rows.items() if verdict == "refused"] == ["interactions, rating"]


def test_validate_trial_on_some_of_the_users_passes(shop):
    done = call("validate", shop, "--json", settings=["catalogue.filter.user_share=0.3"])
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["checks"]["rows"]}
    assert rows["users"]["note"] == "a trial on 30% of the users"
    assert rows["items"]["verdict"] == "ok"


def test_validate_floor_is_asked_without_a_champion(shop, tmp_path):
    settings = [f"store.root={tmp_path / 'store'}", f"checks.min_items={NUM_ITEMS + 1}"]
    done = call("validate", shop, "--accept-change", settings=settings)
    assert done.returncode == 3
    assert "lower the floor in [checks]" in done.stderr
    assert not (tmp_path / "store").exists()


def test_run_same_input_again_says_warnings_and_table_and_passes(shop):
    done = call("run", shop, "--run-id", "second", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    said = done.stderr[: done.stderr.index("extract: run second")]
    assert result["warnings"]
    for warning in result["warnings"]:
        assert said.count(f"warning: {warning}") == 1
    assert "checks of the input: ok; compared with the champion first\n" in said
    assert re.search(r"items +60 +60 +at least 54 +ok\n", said)
    assert {row["verdict"] for row in result["checks"]["rows"]} == {"ok"}


def test_run_accepted_change_stands_in_report_registry_and_manifest(shop):
    done = call("run", shop, "--run-id", "cut", "--accept-change", "--json", settings=[cut(0.5)(shop)])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["checks"]["verdict"], result["mlflow"]["alias"]) == ("accepted", "champion")
    config = load_config(shop / "microrec.toml", SETTINGS)
    release = config.open_store().release("cut")
    assert read_manifest(release).input.items == 30
    page = (release / "report.html").read_text()
    section = re.sub("<[^>]+>", " ", page[page.index('<h2 id="data">') :])
    assert re.search(r"items +60 +30 +at least 54 +accepted", section)
    assert f"{len(result['warnings'])} warning" in section
    uri = absolute_uri(config.tracking_uri, config.base)
    tags = MlflowClient(uri, uri).get_model_version("microrec", result["mlflow"]["model_version"]).tags
    assert tags["microrec.checks"] == "accepted"
    assert "items: 60 then, 30 now" in tags["microrec.checks.reasons"]
    assert tags["microrec.warnings"] == str(len(result["warnings"]))
    assert tags["microrec.warnings.first"] == "\n".join(result["warnings"][:3])


def test_count_input_counts_are_those_of_the_report(tmp_path):
    write_sample(tmp_path, num_items=40, num_users=30)
    config = load_config(tmp_path / "microrec.toml")
    report = check_catalogue(config)
    counts = count_input(report, config)
    assert (counts.items, counts.users, counts.interactions) == (
        report.items.kept,
        report.users.kept,
        report.interactions.kept,
    )
    assert counts.dropped == pytest.approx(sum(report.interactions.dropped.values()) / report.interactions.rows)
    assert set(counts.item_values) == {"title", "categories", "description", "image_path"}
    assert set(counts.interaction_values) == {"rating", "timestamp"}
    rows = pl.read_parquet(tmp_path / "interactions.parquet")
    assert counts.last_timestamp == rows["timestamp"].max().isoformat()


def test_count_input_users_left_out_on_purpose_are_not_dropped(tmp_path):
    config = make_tiny(tmp_path, catalogue={**make_catalogue(), "filter": {"user_share": 0.5}})
    counts = count_input(check_catalogue(config), config)
    assert (counts.dropped, counts.user_share) == (0.0, 0.5)
    assert counts.users < 10


def make_catalogue():
    return {"items": "items.parquet", "interactions": ["interactions.parquet"]}


def test_count_input_report_of_an_earlier_version_leaves_values_out(tmp_path):
    config = make_tiny(tmp_path)
    run = open_run(config, "r1", quiet())
    do_stage(run, stages.VALIDATE)
    path = run.folder(stages.VALIDATE) / "result.json"
    document = json.loads(path.read_text())
    del document["report"]["items"]["values"], document["seal"]
    path.write_text(json.dumps(document))
    assert count_input(run.require(stages.VALIDATE).report, config).item_values is None


def test_kept_checks_run_that_was_not_asked_has_none(tmp_path):
    run = make_run(make_config(tmp_path, database=False), "r1")
    assert kept_checks(run) is None
    assert input_tags(run) == {}


def test_input_tags_a_picture_in_the_place_of_its_path_is_cut(tmp_path):
    run = make_run(make_config(tmp_path, database=False), "r1")
    row = Check(name="x" * 9000, then="1", now="0", allowed="at least 1", verdict="refused")
    keep_checks(run, Checks(verdict="refused", rows=[row], reasons=[row.reason()]))
    assert kept_checks(run).rows == [row]
    assert len(input_tags(run)["microrec.checks.reasons"]) == 5000
