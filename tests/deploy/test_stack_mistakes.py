"""A night that cannot crown a mistake, on the whole stack: catalogues that shrink, empty, lie or move, a rollback, a
store that is away, an approval by hand, two shops.

The tests share one stack and one champion. Each leaves the catalogue whole; the nights between them each bring new
interactions."""

import hashlib
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import quote

import polars as pl
import pytest

from deploy.compose import ROOT
from deploy.night import DAG
from tests.deploy.drill import kill_service
from tests.deploy.pages import Pages, screens_folder
from tests.deploy.stack import APPROVAL, BUCKET, CHAMPION, MAPPED, wait_for

SECONDS_AWAY = 60
"""How long the object store stays dead."""
REASON = "prices were wrong"
SHOPS = ("books", "films")
COMPUTING = ("extract_image", "extract_text", "prepare", "train", "evaluate", "gate", "export", "register", "promote")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]
on_pages = pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromium-driver is not installed")


@pytest.fixture(scope="module")
def deliver(stack):
    """Puts the next hundredth of the interactions into the catalogue, in the order of time."""
    whole = stack.read_table("interactions").sort("timestamp", maintain_order=True)
    percents = iter(range(92, 101))

    def one_more():
        stack.replace_table("interactions", whole.head(len(whole) * next(percents) // 100))

    return one_more


@pytest.fixture(scope="module")
def first(stack, deliver):
    """The first night, as `make night` runs it."""
    deliver()
    done = subprocess.run(
        [sys.executable, "-m", "deploy.night", "--env-file", stack.env_file, "--param", "shards=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "**promoted**" in done.stdout
    [run] = stack.airflow.runs(DAG)
    return stack.finish_night(run["dag_run_id"])


def test_first_night_is_green_promoted_and_loaded_by_the_consumer(stack, first):
    assert stack.champion["digest"] == first.digest
    wait_for_consumer(stack, first.digest)


def test_night_whose_catalogue_moved_between_extract_and_prepare_ends_well_once_cleared(stack, first, deliver):
    deliver()
    run_id = stack.start_night(shards=1)
    wait_for(lambda: extractions(stack, run_id) <= {"running", "success"}, pause=1)
    stack.pause(DAG)  # so that the next task is not begun
    wait_for(lambda: extractions(stack, run_id) == {"success"}, pause=1)
    deliver()
    change_title(stack)
    stack.resume(DAG)
    failed = stack.finish_night(run_id, "failed")
    assert (failed.states["prepare"], failed.attempts("prepare")) == ("failed", [1])
    assert "its input is no longer the one it began with" in stack.log(run_id, "prepare")
    stack.clear(run_id, "prepare")
    night = stack.finish_night(run_id)
    assert night.states["promote"] == "success"
    assert stack.champion["run_id"] == night.release
    assert digests_of(stack, night) == digests_now(stack)


def test_night_with_the_store_away_for_a_minute_ends_well_by_itself(stack, first, deliver):
    deliver()
    before = checkpoints(stack)
    run_id = stack.start_night(shards=1)
    wait_for(lambda: checkpoints(stack) - before)
    kill_service(stack, "seaweedfs")
    time.sleep(SECONDS_AWAY)
    assert stack.airflow.run(DAG, run_id)["state"] == "running"
    stack.run("up")
    night = stack.finish_night(run_id)
    assert max(night.attempts("train")) > 1, "nothing noticed that the store was away"
    assert stack.champion["run_id"] == night.release
    assert stack.microrec("verify", night.release)["digest"] == night.digest


def test_night_after_a_rollback_on_the_same_input_is_published_and_not_promoted(stack, first):
    mistaken = stack.champion
    move_champion(stack, action="rollback", reason=REASON)
    restored = stack.champion
    assert restored["digest"] == mistaken["previous"]["digest"]
    wait_for_consumer(stack, restored["digest"])
    night = stack.night(shards=1)
    assert (night.states["register"], night.states["promote"]) == ("success", "skipped")
    assert f"is held since {restored['held']['since']:.19}: {REASON}" in night.note
    assert stack.microrec("verify", night.release)["digest"] == night.digest
    assert stack.champion == restored
    move_champion(stack, action="free")
    assert stack.champion["held"] is None


@pytest.fixture(scope="module")
def halved(stack, first):
    """A night on half the catalogue."""
    items = stack.read_table("items")
    with unmoved(stack), replaced(stack, "items", items.head(len(items) // 2)):
        return stack.refused_night()


def test_night_on_half_the_catalogue_is_refused_by_the_checks(stack, halved):
    assert_computed_nothing(halved)
    assert halved.note.startswith("- **refused** by the checks of the input: items: 120 then, 60 now")
    assert f"input **refused**, compared with `{stack.champion['run_id']}`" in halved.note


@on_pages
def test_page_of_a_night_on_half_the_catalogue_says_why(stack, halved, screens):
    with Pages(stack, screens) as pages:
        pages.open_run(DAG, halved.run_id, "refused by the checks of the input: items: 120 then, 60 now")
        pages.save("airflow-refused-by-the-checks")


def test_night_without_its_pictures_is_refused_by_the_checks(stack, first):
    stack.store.pipe_file(f"{BUCKET}/nowhere/README", b"The pictures have moved.")  # else there is no such folder
    with unmoved(stack):
        night = stack.refused_night(f"catalogue.image_root=s3://{BUCKET}/nowhere")
    assert_computed_nothing(night)
    assert night.note.startswith("- **refused** by the checks of the input: image, usable: ")


@pytest.fixture(scope="module")
def shuffled(stack, first):
    """A night whose interactions are somebody else's."""
    table = stack.read_table("interactions")
    with unmoved(stack), replaced(stack, "interactions", table.with_columns(pl.col("item_id").shuffle(seed=0))):
        return stack.refused_night()


def test_night_with_shuffled_interactions_is_refused_by_the_gate(stack, shuffled):
    assert (shuffled.states["check_input"], shuffled.states["evaluate"]) == ("success", "success")
    assert (shuffled.states["gate"], shuffled.attempts("gate")) == ("failed", [1])
    assert {shuffled.states[name] for name in ("export", "register", "promote")} == {"upstream_failed"}
    assert "**refused**, waits for an approval: microrec gate ended with status 3" in shuffled.note
    asked = wait_for(lambda: stack.question(approval_of(shuffled)), pause=1)
    assert asked["response_received"] is False
    assert "held out then" in asked["body"]


@on_pages
def test_pages_of_a_night_refused_by_the_gate_say_why_and_ask(stack, shuffled, screens):
    with Pages(stack, screens) as pages:
        pages.open_run(DAG, shuffled.run_id, "refused, waits for an approval")
        pages.save("airflow-refused-by-the-gate")
        pages.open_airflow("required_actions", "make it champion all the same?")
        pages.save("airflow-required-actions")
        pages.open_airflow(f"dags/{APPROVAL}/runs/{quote(approval_of(shuffled))}/required_actions", "Approve", "Reject")
        pages.save("airflow-approval")


def test_approved_night_becomes_champion_and_the_consumer_follows(stack, shuffled):
    before = stack.champion
    stack.answer(approval_of(shuffled), "Approve")
    stack.finish_run(APPROVAL, approval_of(shuffled))
    assert stack.champion["previous"]["digest"] == before["digest"]
    assert stack.champion["reason"].startswith("approved by admin: microrec gate ended with status 3")
    wait_for_consumer(stack, stack.champion["digest"])


@on_pages
def test_page_of_the_approved_version_says_that_the_gate_refused(stack, shuffled, screens):
    champion = stack.champion
    with Pages(stack, screens) as pages:
        pages.log_in_to_mlflow()
        pages.open_mlflow(f"models/{champion['model_name']}/versions/{champion['model_version']}", "microrec.gate")
        pages.save("mlflow-version-approved")


def test_two_shops_have_their_nights_side_by_side(stack, first):
    open_shops(stack)
    runs = {name: stack.airflow.trigger(f"{DAG}_{name}", {"shards": 1}) for name in SHOPS}
    nights = {name: stack.finish_night(runs[name], dag_id=f"{DAG}_{name}") for name in SHOPS}
    spans = [stack.airflow.run(f"{DAG}_{name}", runs[name]) for name in SHOPS]
    assert max(run["start_date"] for run in spans) < min(run["end_date"] for run in spans)
    for name in SHOPS:
        assert stack.read_json(f"{BUCKET}/{name}/champion.json")["digest"] == nights[name].digest
        wait_for_consumer(stack, nights[name].digest, schema=name)


@pytest.fixture(scope="module")
def screens(tmp_path_factory):
    """Where screenshots go."""
    return screens_folder(tmp_path_factory.mktemp("pages"))


def wait_for_consumer(stack, digest, schema="public"):
    """Until the tables in PostgreSQL hold a release."""
    wait_for(lambda: (stack.consumed(schema) or [""])[0] == digest, 600, pause=1)


def move_champion(stack, **params):
    stack.finish_run(CHAMPION, stack.airflow.trigger(CHAMPION, params))


def approval_of(night):
    """The run that asks about a refused night."""
    return f"{night.run_id}.{night.attempts('gate')[0]}"


def assert_computed_nothing(night):
    assert (night.states["check_input"], night.attempts("check_input")) == ("failed", [1])
    assert {night.states[name] for name in COMPUTING} == {"upstream_failed"}
    assert night.states["ask_approval"] == "skipped"


def extractions(stack, run_id):
    """States of the extraction tasks; None is one that has not begun."""
    return {task["state"] for task in stack.airflow.tasks(DAG, run_id) if task["task_id"] in MAPPED}


def checkpoints(stack):
    return set(stack.store.glob(f"{BUCKET}/store/runs/*/checkpoints/epoch-*.safetensors"))


def change_title(stack):
    items = stack.read_table("items")
    title = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("Another title")).otherwise("title")
    stack.replace_table("items", items.with_columns(title.alias("title")))


def digests_now(stack):
    """Of the tables that stand in the store."""
    tables = [f"{BUCKET}/catalogue/{name}.parquet" for name in ("interactions", "items")]
    return sorted(hashlib.sha256(stack.store.cat_file(table)).hexdigest() for table in tables)


def digests_of(stack, night):
    """Of the tables that a release was made of."""
    return sorted(stack.read_json(f"{BUCKET}/store/releases/{night.release}/manifest.json")["input_digests"].values())


@contextmanager
def replaced(stack, name, table):
    """Another table in the catalogue, for a while."""
    before = stack.read_table(name)
    stack.replace_table(name, table)
    try:
        yield
    finally:
        stack.replace_table(name, before)


@contextmanager
def unmoved(stack):
    """The champion must be the same after."""
    before = stack.champion
    yield
    assert stack.champion == before


def open_shops(stack):
    """Two configurations in a folder, each with a store and a model of its own."""
    config = stack.state / "config"
    folder = config / "shops"
    folder.mkdir()
    common = (config / "microrec.toml").read_text()
    for name in SHOPS:
        own = common.replace(f"s3://{BUCKET}/store", f"s3://{BUCKET}/{name}")
        (folder / f"{name}.toml").write_text(f'{own}\nexperiment = "{name}"\nmodel_name = "{name}"\n')
    stack.change(CONFIGS=str(folder))
    stack.run("up")
    wanted = {f"{DAG}_{name}" for name in SHOPS}
    wait_for(lambda: wanted <= stack.dags(), 300, pause=1)
