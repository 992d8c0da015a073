"""The whole pipeline with the store and the catalogue in an object store: killed, doubled, and what is read of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import s3fs

from pipeline.cli import main
from pipeline.sample import write_sample
from pipeline.storage.arrow import polars_options
from pipeline.storage.files import list_files, resolve
from tests.servers import s3_client

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-c", "from pipeline.cli import main; main()"]
SETTINGS = {
    "train.max_epochs": 30,
    "train.check_every": 2,
    "train.device": "cpu",
    "train.warm_start": "none",  # else a night would go on from the one before
    "model.embedding_dim": 16,
    "catalogue.items": "s3://nightly/in/items.parquet",
    "catalogue.interactions": ["s3://nightly/in/interactions.parquet"],
    "catalogue.image_root": "s3://nightly/in",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, s3_environment):
    """Where the configuration is; the catalogue that it names, pictures and all, is in the bucket `nightly`."""
    folder, client = tmp_path_factory.mktemp("remote"), s3_client(s3_environment)
    write_sample(folder, num_items=40, num_users=60, seed=2)
    client.create_bucket(Bucket="nightly")
    for path in [path for path in folder.rglob("*") if path.is_file() and path.name != "microrec.toml"]:
        name = f"in/{path.relative_to(folder).as_posix()}"
        client.put_object(Bucket="nightly", Key=name, Body=path.read_bytes())
        path.unlink()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in s3_environment.items():
            patched.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield folder
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def root(folder):
    return resolve("s3://nightly/store", Path())


def options(folder, root):
    places = {"store.root": str(root), "mlflow.tracking_uri": f"sqlite:///{folder}/{Path(str(root)).name}.db"}
    settings = [f"{key}={json.dumps(value)}" for key, value in (SETTINGS | places).items()]
    return ["--json", "-c", str(folder / "microrec.toml"), *(part for each in settings for part in ("--set", each))]


def start(folder, root, run_id):
    command = [*COMMAND, "run", "--run-id", run_id, *options(folder, root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    return json.loads(out)["digest"], log


def kill_when_there_is(root, pattern, process):
    deadline = time.monotonic() + 200
    while not root.fs.glob(f"{root.path}/{pattern}"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def digest(folder, root):
    """Of a run whose process was killed during extraction, and again during training."""
    process = start(folder, root, "night")
    kill_when_there_is(root, "features/*/*/part-*.parquet", process)
    assert not root.fs.exists(f"{root.path}/runs/night/extract/_SUCCESS")
    process = start(folder, root, "night")
    kill_when_there_is(root, "runs/night/checkpoints/epoch-*", process)
    assert not root.fs.exists(f"{root.path}/runs/night/train/_SUCCESS")
    digest, log = finish(start(folder, root, "night"))
    assert "resumed after epoch" in log
    return digest


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    return json.loads(shown.out)


def test_run_killed_in_an_object_store_gives_the_digest_of_a_local_store(folder, digest, tmp_path):
    # In a process of its own, as the others: what ran before in this one may have left torch other threads.
    assert finish(start(folder, tmp_path / "local-store", "local"))[0] == digest


def test_run_two_at_once_with_one_id_give_one_release(folder, root, digest):
    started = [start(folder, root, "twice") for _ in range(2)]
    assert [finish(process)[0] for process in started] == [digest, digest]
    files = list_files(root / "releases" / "twice")
    assert [name for name in files if name.startswith("item_embeddings")] == ["item_embeddings/part-00000.parquet"]


def test_release_in_an_object_store_verifies_and_serves(folder, root, digest, capsys):
    settings = options(folder, root)
    checked = call(capsys, "verify", "night", *settings)
    assert checked["digest"] == digest
    user = pl.read_parquet(f"{root}/releases/night/user_vectors/*.parquet", **polars_options(root))["user_id"][0]
    best = call(capsys, "recommend", "--user", str(user), "--release", "night", "-k", "3", *settings)
    assert all(item["title"] for item in best["items"])
    item = best["items"][0]["item_id"]
    assert len(call(capsys, "similar", "--item", item, "--release", "night", "-k", "3", *settings)["items"]) == 3


def test_embed_reads_from_and_writes_to_an_object_store(folder, root, digest, capsys):
    settings, out = options(folder, root), "s3://nightly/embedded"
    items = SETTINGS["catalogue.items"]
    done = call(capsys, "embed", "--items", items, "--out", out, "--release", "night", *settings)
    table = pl.read_parquet(f"{out}/item_embeddings/*.parquet", **polars_options(root))
    assert (len(table), done["out"]) == (40, f"{out}/item_embeddings")


def test_extract_precomputed_vectors_and_shards_in_an_object_store(folder, root, digest, capsys):
    ids = pl.read_parquet(SETTINGS["catalogue.items"], **polars_options(root))["item_id"]
    vectors = pl.DataFrame({"item_id": ids, "vector": [[1.0, float(row)] for row in range(40)]})
    with root.fs.open("nightly/in/audio/part-0.parquet", "wb") as file:
        vectors.write_parquet(file)
    audio = 'modalities.audio={encoder = "precomputed", vectors = "s3://nightly/in/audio"}'
    for shard in ("0/2", "1/2"):
        done = call(capsys, "extract", "--shard", shard, *options(folder, root), "--set", audio)
        assert done["modalities"]["audio"]["with_vector"] == 40
        assert [done["modalities"][name]["encoded"] for name in ("image", "text")] == [0, 0]
