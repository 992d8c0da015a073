"""On a real PostgreSQL with pgvector."""

import socket
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg2
import pytest

from deploy import postgres
from deploy.compose import Service
from deploy.processes import Processes
from pipeline.errors import InputError
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS, read_table
from pipeline.serving.pgvector import load_release
from pipeline.storage.arrow import vectors_of
from tests.pipeline.release_factory import NUM_ITEMS, NUM_USERS, make_config, make_run, quiet


@pytest.fixture(scope="module")
def server():
    """A server; yields its address."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server runs as another user where we are root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        data = folder / "postgresql" / "data"
        environment = {"PGDATA": str(data), "POSTGRES_PASSWORD": "secret", "POSTGRES_DB": "vectors"}
        postgres.prepare(Service("postgres", {"environment": environment}, {}))
        options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command = [str(postgres.binaries() / "postgres"), *options]
        processes = Processes(folder)
        processes.start("postgres", command, environment, user=postgres.server_user(), stop_signal="SIGINT")
        while subprocess.run(
            [postgres.binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", port], check=False
        ).returncode:
            assert processes.running("postgres"), processes.last_lines("postgres")
            time.sleep(0.1)
        yield f"postgresql://postgres:secret@127.0.0.1:{port}"
        processes.stop(["postgres"], 30)


@pytest.fixture
def dsn(server, request):
    """A database of the test's own."""
    name = f"d{abs(hash(request.node.name))}"
    connection = psycopg2.connect(f"{server}/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{server}/{name}"


def query(dsn, text, *values):
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(text, values)
        rows = cursor.fetchall()
    connection.close()
    return rows


@pytest.mark.parametrize("integer_ids", [False, True])
def test_load_release_inner_products_are_the_releases(dsn, tmp_path, integer_ids):
    run = make_run(make_config(tmp_path), "r1", integer_ids=integer_ids)
    result = load_release(run.config.open_store(), "r1", dsn, quiet())
    assert (result["changed"], result["rows"]) == (True, {"item_vectors": NUM_ITEMS, "user_vectors": NUM_USERS})
    release = run.store.release("r1")
    users, items = read_table(release, USER_VECTORS), read_table(release, ITEM_EMBEDDINGS)
    scores = vectors_of(items, "embedding") @ vectors_of(users, "embedding")[2]
    found = query(
        dsn,
        "SELECT item_id, -(embedding <#> (SELECT embedding FROM user_vectors WHERE user_id = %s)) FROM item_vectors",
        users.column("user_id")[2].as_py(),
    )
    by_id = dict(found)
    np.testing.assert_allclose([by_id[name] for name in items.column("item_id").to_pylist()], scores, rtol=1e-5)


def test_load_release_twice_changes_nothing_and_another_replaces_all(dsn, tmp_path):
    config = make_config(tmp_path)
    make_run(config, "r1", seed=1)
    make_run(config, "r2", seed=2)
    load_release(config.open_store(), "r1", dsn, quiet())
    assert not load_release(config.open_store(), "r1", dsn, quiet())["changed"]
    before = query(dsn, "SELECT embedding::text FROM item_vectors ORDER BY item_id")
    assert load_release(config.open_store(), "r2", dsn, quiet())["changed"]
    assert query(dsn, "SELECT embedding::text FROM item_vectors ORDER BY item_id") != before
    assert query(dsn, "SELECT run_id FROM vectors_release") == [("r2",)]


def test_load_release_without_or_with_a_wrong_address_says_which_setting(tmp_path, server):
    config = make_run(make_config(tmp_path), "r1").config
    with pytest.raises(InputError, match="MICROREC_PGVECTOR_DSN is not set"):
        load_release(config.open_store(), "r1", "", quiet())
    with pytest.raises(InputError, match="password authentication failed"):
        load_release(config.open_store(), "r1", server.replace("secret", "wrong") + "/postgres", quiet())


def test_load_release_of_two_shops_keeps_each_in_its_schema(dsn, tmp_path):
    store = make_config(tmp_path).open_store()
    for run_id in ("r1", "r2"):
        make_run(make_config(tmp_path), run_id, seed=int(run_id[1]))
    load_release(store, "r1", dsn, quiet(), "books")
    assert load_release(store, "r2", dsn, quiet(), "toys")["changed"]
    assert not load_release(store, "r1", dsn, quiet(), "books")["changed"]
    assert query(dsn, "SELECT run_id FROM books.vectors_release UNION ALL SELECT run_id FROM toys.vectors_release") == [
        ("r1",),
        ("r2",),
    ]


def test_load_release_schema_that_cannot_be_one_is_refused(tmp_path):
    store = make_config(tmp_path).open_store()
    with pytest.raises(InputError, match="--schema 'a b'"):
        load_release(store, None, "postgresql://127.0.0.1:1/x", quiet(), "a b")
