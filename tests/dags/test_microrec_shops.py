"""A folder of configurations: DAGs, assets and settings for each shop."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("nightly", "champion", "approval", "to_pgvector", "gc", "new_items")


@pytest.fixture
def shops(tmp_path, monkeypatch):
    """Write the files of a folder that MICROREC_CONFIGS names; the DAGs that come of it."""

    def parse(**files):
        from airflow.dag_processing.dagbag import DagBag

        for name, text in files.items():
            (tmp_path / f"{name}.toml").write_text(text)
        monkeypatch.setenv("MICROREC_CONFIGS", str(tmp_path))
        bag = DagBag(str(ROOT / "dags"))
        assert bag.import_errors == {}
        return bag.dags

    return parse


def test_shops_each_have_their_dags_assets_schedule_pools_and_timeouts(shops, tmp_path):
    own = '[airflow]\nschedule = "30 4 * * *"\ngpu_pool = "big"\ntrain_timeout_hours = 3\nstart_on = "either"\n'
    dags = shops(books=own + "deadline_hours = 0.5\nshards = 7\napproval_days = 2\n", toys="")
    assert set(dags) == {f"microrec_{kind}_{name}" for kind in KINDS for name in ("books", "toys")}
    books, toys = dags["microrec_nightly_books"], dags["microrec_nightly_toys"]
    assert (books.timetable.timetable.expression, toys.timetable.timetable.expression) == ("30 4 * * *", "0 2 * * *")
    assert (books.get_task("train").pool, toys.get_task("train").pool) == ("big", "microrec_gpu")
    assert books.get_task("train").execution_timeout.total_seconds() == 3 * 3600
    assert books.deadline[0].interval.total_seconds() == 1800
    assert (books.params["shards"], books.params["config"]) == (7, "books.toml")
    assert dags["microrec_approval_books"].get_task("ask").response_timeout.days == 2
    assert {asset.name for asset in books.timetable.asset_condition.objects} == {
        "microrec_catalogue_books",
        "microrec_interactions_books",
    }
    for name in ("books", "toys"):
        consumer = dags[f"microrec_to_pgvector_{name}"].timetable.asset_condition
        assert [asset.name for asset in consumer.objects] == [f"microrec_champion_{name}", f"microrec_increment_{name}"]
        night = dags[f"microrec_nightly_{name}"]
        assert [asset.name for asset in night.get_task("promote").outlets] == [f"microrec_champion_{name}"]
        assert night.get_task("ask_approval").trigger_dag_id == f"microrec_approval_{name}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[airflow", "books.toml: Expected"),
        ("[airflow]\nschedul = 1", "unknown key 'airflow.schedul'"),
        ('[airflow]\nshards = "two"', "airflow.shards: expected"),
        ("[airflow]\ntimeout_hours = -1", "timeout_hours is -1"),
    ],
)
def test_shops_damaged_file_leaves_the_others_and_says_what_is_wrong_on_its_page(shops, text, reason):
    dags = shops(books=text, toys="")
    assert set(dags) == {f"microrec_{kind}_{name}" for kind in KINDS for name in ("books", "toys")}
    books, toys = dags["microrec_nightly_books"], dags["microrec_nightly_toys"]
    assert "damaged" in books.tags
    assert reason in books.doc_md
    assert toys.tags == {"microrec", "toys"}


def test_shops_file_that_cannot_name_a_dag_is_left_out(shops):
    assert {name.rsplit("_", 1)[1] for name in shops(**{"a b": "", "toys": ""})} == {"toys"}


def test_shops_one_configuration_carries_no_name(monkeypatch, tmp_path):
    from microrec_shops import find_shops

    monkeypatch.delenv("MICROREC_CONFIGS", raising=False)
    monkeypatch.setenv("MICROREC_CONFIG", str(tmp_path / "absent.toml"))
    [shop] = find_shops()
    assert (shop.named("microrec_nightly"), shop.champion.name, shop.champion.uri, shop.damage) == (
        "microrec_nightly",
        "microrec_champion",
        "x-microrec://champion",
        None,
    )
