"""A store that was moved or copied: MLflow's database says where the artifacts lie now."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts

from pipeline.registry import relocation
from pipeline.registry.relocation import locate, relocate
from tests.pipeline.release_factory import make_config

ROOT = Path(__file__).parents[3]
RUN, MODEL = "0f/artifacts", "models/m-1/artifacts"


def make_store(store, database="mlflow.db"):
    """A store with the rows that MLflow writes for one registered model, and its files."""
    artifacts = store / "mlartifacts"
    for name in (RUN, MODEL):
        (artifacts / name).mkdir(parents=True)
        (artifacts / name / "file").write_text(name)
    own = artifacts.as_uri()
    with closing(sqlite3.connect(store / database)) as connection, connection:
        for table, columns, values in (
            ("experiments", "artifact_location", ("/somewhere/mlruns/0",)),
            ("experiments", "artifact_location", (own,)),
            ("runs", "artifact_uri, status", (f"{own}/{RUN}", "FINISHED")),
            ("logged_models", "artifact_location", (f"{own}/{MODEL}",)),
            ("model_versions", "source, storage_location", ("models:/m-1", f"{own}/{MODEL}")),
        ):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)
    return store


def add(store, table, *values):
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def locations(store, database="mlflow.db"):
    """Everything that the database has, a list a table."""
    tables = ("experiments", "runs", "logged_models", "model_versions")
    with closing(sqlite3.connect(store / database)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def move(store, database="mlflow.db"):
    return relocate(store / database, store / "mlartifacts")


@pytest.fixture
def original(tmp_path):
    return make_store(tmp_path / "a" / "my store%")


@pytest.fixture
def moved(tmp_path, original):
    """The store at another place, and what a store has that was made there."""
    expected = locations(make_store(tmp_path / "b" / "my store%"))
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "a").rename(tmp_path / "b")
    return tmp_path / "b" / "my store%", expected


def test_relocate_moved_store_is_as_one_made_there(moved):
    store, expected = moved
    assert move(store) == 4
    assert locations(store) == expected


def test_relocate_again_changes_nothing_and_writes_nothing(moved):
    store, _ = moved
    move(store)
    before = (store / "mlflow.db").stat().st_mtime_ns
    assert move(store) == 0
    assert (store / "mlflow.db").stat().st_mtime_ns == before


def test_relocate_moved_twice_and_back_is_as_before(tmp_path, original):
    before = locations(original)
    for name in ("b", "c", "a"):
        next(tmp_path.iterdir()).rename(tmp_path / name)
        move(tmp_path / name / "my store%")
    assert locations(original) == before


def test_relocate_where_the_old_place_is_taken_by_a_new_store_is_as_one_made_there(tmp_path, moved):
    store, expected = moved
    make_store(tmp_path / "a" / "my store%")
    move(store)
    assert locations(store) == expected


def test_relocate_copy_is_changed_and_the_original_is_not(tmp_path, original):
    before = locations(original)
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    move(copy)
    move(original)
    assert locations(original) == before
    assert str(original.parent.as_uri()) not in str(locations(copy))


def test_relocate_copy_without_artifacts_writes_to_its_own_and_reads_the_originals(tmp_path, original):
    uri = (original / "mlartifacts").as_uri()
    add(original, "runs", f"{uri}/1f/artifacts", "RUNNING")
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(original / "mlflow.db", copy)
    move(copy)
    own, now = (copy / "mlartifacts").as_uri(), locations(copy)
    assert now["experiments"][1] == (own,)
    assert [row[0] for row in now["runs"]] == [f"{uri}/{RUN}", f"{own}/1f/artifacts"]
    assert now["logged_models"] == [(f"{uri}/{MODEL}",)]


def test_relocate_artifacts_that_an_earlier_version_wrote_to_the_old_place_stay_there(tmp_path, moved):
    store, _ = moved
    old = tmp_path / "a" / "my store%" / "mlartifacts"
    (old / "models/m-2/artifacts").mkdir(parents=True)
    add(store, "logged_models", f"{old.as_uri()}/models/m-2/artifacts")
    move(store)
    own, now = (store / "mlartifacts").as_uri(), locations(store)
    assert now["experiments"][1] == (own,)
    assert now["logged_models"] == [(f"{own}/{MODEL}",), (f"{old.as_uri()}/models/m-2/artifacts",)]
    shutil.move(old / "models/m-2", store / "mlartifacts/models/m-2")
    move(store)
    assert locations(store)["logged_models"][1] == (f"{own}/models/m-2/artifacts",)


def test_relocate_run_that_goes_on_after_the_move_writes_to_the_new_place(moved):
    store, _ = moved
    unfinished = locations(store)["experiments"][1][0] + "/1f/artifacts"
    add(store, "runs", unfinished, "RUNNING")
    move(store)
    assert locations(store)["runs"][1] == ((store / "mlartifacts").as_uri() + "/1f/artifacts", "RUNNING")


def test_relocate_database_that_two_stores_share_is_left_alone(tmp_path, original):
    (original / "mlflow.db").rename(tmp_path / "shared.db")
    other = tmp_path / "other" / "mlartifacts"
    for _ in range(2):
        before = locations(tmp_path, "shared.db")
        assert relocate(tmp_path / "shared.db", other) == 0
        assert locations(tmp_path, "shared.db") == before
        other.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(original / "mlartifacts", ignore_errors=True)  # none yet


def test_relocate_database_beside_a_store_moves_with_it(tmp_path):
    make_store(tmp_path / "a/store")
    (tmp_path / "a/db").mkdir()
    (tmp_path / "a/store/mlflow.db").rename(tmp_path / "a/db/here.db")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    relocate(tmp_path / "b/db/here.db", tmp_path / "b/store/mlartifacts")
    assert str(tmp_path / "a") not in str(locations(tmp_path / "b/db", "here.db"))


@pytest.mark.parametrize(
    "place", ["s3://bucket/mlartifacts", "mlflow-artifacts:/mlartifacts", "http://host/mlartifacts"]
)
def test_relocate_artifacts_elsewhere_are_left_alone(moved, place):
    store, _ = moved
    add(store, "experiments", place)
    add(store, "logged_models", f"{place}/{MODEL}")
    move(store)
    assert locations(store)["experiments"][2] == (place,)
    assert locations(store)["logged_models"][1] == (f"{place}/{MODEL}",)


def test_relocate_folder_that_somebody_chose_is_left_alone(tmp_path, original):
    chosen = tmp_path / "disk" / "mlartifacts"
    chosen.parent.mkdir()
    (original / "mlartifacts").rename(chosen)
    add(original, "experiments", str(chosen))
    move(original)
    assert locations(original)["experiments"][2] == (str(chosen),)


def test_relocate_old_paths_without_a_scheme_become_addresses(moved):
    store, expected = moved
    with closing(sqlite3.connect(store / "mlflow.db")) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("logged_models", "artifact_location")):
            plain = f"replace(replace(replace({column}, 'file://', ''), '%20', ' '), '%25', '%')"
            connection.execute(f"UPDATE {table} SET {column} = {plain}")
    move(store)
    assert locations(store) == expected


def test_relocate_half_made_database_is_left_to_mlflow(tmp_path):
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE experiments (artifact_location)")
    assert move(tmp_path) == 0
    assert relocate(tmp_path / "none.db", tmp_path / "mlartifacts") == 0
    assert not (tmp_path / "none.db").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.registry import relocation
found = relocation._changes
def changes(connection, *places):
    for count, change in enumerate(found(connection, *places)):
        if connection.in_transaction and count == 2:
            connection.execute("PRAGMA cache_spill = 1")
            os.kill(os.getpid(), signal.SIGKILL)
        yield change
relocation._changes = lambda *given: changes(*given) if given[0].in_transaction else found(*given)
relocation.relocate(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_relocate_killed_halfway_is_done_by_the_next(moved):
    store, expected = moved
    before = locations(store)
    command = [sys.executable, "-c", KILLED, str(store / "mlflow.db"), str(store / "mlartifacts")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert locations(store) == before
    move(store)
    assert locations(store) == expected


@pytest.mark.parametrize(
    ("uri", "folder", "rest"),
    [
        ("file:///a/mlartifacts", "/a/mlartifacts", ""),
        ("file:///a%20b/mlartifacts/", "/a b/mlartifacts", ""),
        ("/a b/mlartifacts/0f/artifacts", "/a b/mlartifacts", "0f/artifacts"),
        ("file:///mlartifacts/store/mlartifacts/models/m", "/mlartifacts/store/mlartifacts", "models/m"),
    ],
)
def test_locate_local_location_is_folder_and_rest(uri, folder, rest):
    assert locate(uri, "mlartifacts") == relocation.Location(Path(folder), rest)


@pytest.mark.parametrize(
    "uri", ["/a/mlartifacts2/x", "file://host/a/mlartifacts", "s3://b/mlartifacts", "models:/m", ""]
)
def test_locate_anything_else_is_none(uri):
    assert locate(uri, "mlartifacts") is None


def test_open_tracking_of_a_moved_store_reads_and_writes_there(tmp_path):
    config = make_config(tmp_path / "a")
    (tmp_path / "note.txt").write_text("kept")
    tracking = config.open_tracking()
    tracking.log_file(tracking.start_run("r1"), tmp_path / "note.txt")
    (tmp_path / "a").rename(tmp_path / "b")
    tracking = make_config(tmp_path / "b").open_tracking()
    run = tracking.start_run("r1")
    uri = f"sqlite:///{tmp_path}/b/store/mlflow.db"
    kept = download_artifacts(run_id=run.info.run_id, artifact_path="note.txt", tracking_uri=uri)
    assert Path(kept).read_text() == "kept"
    tracking.log_file(tracking.start_run("r2"), tmp_path / "note.txt")
    assert not (tmp_path / "a").exists()
    assert len(list((tmp_path / "b/store/mlartifacts").rglob("note.txt"))) == 2


def test_open_tracking_killed_while_the_database_is_made_can_be_repeated(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Path, "hardlink_to", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            make_config(tmp_path, database=False).open_tracking()
    assert [path.suffix for path in (tmp_path / "store").glob(".mlflow.db*")] == [".new"]
    assert not (tmp_path / "store/mlflow.db").exists()
    make_config(tmp_path, database=False).open_tracking().start_run("r1")
    assert not list((tmp_path / "store").glob(".mlflow.db*"))


HALF_WRITTEN = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("CREATE TABLE many (text)")
connection.execute("BEGIN")
for _ in range(2000):
    connection.execute("INSERT INTO many VALUES (?)", ("x" * 500,))
os._exit(0)
"""


def test_relocate_database_that_a_killed_process_has_half_written_is_read(original):
    database = original / "mlflow.db"
    subprocess.run([sys.executable, "-c", HALF_WRITTEN, str(database)], check=True)
    assert database.with_name("mlflow.db-journal").exists()
    assert relocate(database, original / "mlartifacts") == 0
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM many").fetchone() == (0,)
