"""The manifest says the same when it is read back, by this version and of earlier ones."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipeline.dataset.records import EncoderRecord, Evaluation, Training, WarmStart
from pipeline.errors import DamagedError, StoreError
from pipeline.release.format import TABLES_OF
from pipeline.release.manifest import MANIFEST, FileEntry, Manifest, manifest_of, manifest_sha256, read_manifest
from pipeline.storage.files import SUCCESS

OLDEST = {
    "schema_version": 1,
    "release_digest": "ab" * 32,
    "run_id": "r1",
    "embedding_dim": 8,
    "counts": {"items": 3},
    "config": {"model": {"embedding_dim": 8}},
    "input_digests": {"items.parquet": "cd" * 32},
    "encoders": {"text": {"key": "minilm", "revision": "1", "dim": 384, "digest": "ef" * 32}},
    "metrics": {"validation": {"recall@20": 0.25}},
}
"""What the first version wrote at the least."""
TRAINING = {"epochs": 5, "best_epoch": 4, "modalities": ["text"], "device": "cpu", "threads": 1, "torch": "2.15.0"}


@pytest.fixture
def folder(tmp_path):
    """A complete release, but for its manifest."""
    (tmp_path / SUCCESS).touch()
    return UPath(str(tmp_path))


def write(folder, document):
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / MANIFEST).write_text(text)


name = st.text(max_size=8)
number = st.integers(0, 2**40)
share = st.floats(allow_nan=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | share | name,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(name, inner, max_size=3),
    max_leaves=6,
)
metrics = st.none() | st.dictionaries(name, share, max_size=3)
warm_start = st.builds(WarmStart, run_id=st.none() | name, reason=st.none() | name, metric=st.none() | share)
training = st.builds(
    Training,
    epochs=number,
    best_epoch=number,
    warm_start=st.none() | warm_start,
    modalities=st.lists(name, max_size=3),
    device=name,
    threads=number,
    torch=name,
)
manifests = st.builds(
    Manifest,
    schema_version=st.sampled_from(list(TABLES_OF)),
    release_digest=name,
    run_id=name,
    created=name,
    embedding_dim=number,
    counts=st.dictionaries(name, number, max_size=3),
    config=st.dictionaries(name, plain, max_size=3),
    input_digests=st.dictionaries(name, name, max_size=3),
    encoders=st.dictionaries(
        name, st.builds(EncoderRecord, key=name, revision=name, dim=number, digest=name), max_size=2
    ),
    training=st.none() | training,
    metrics=st.builds(
        Evaluation, validation=metrics, test=metrics, slices=st.dictionaries(name, st.dictionaries(name, share))
    ),
    files=st.lists(st.builds(FileEntry, path=name, sha256=name, bytes=number, rows=st.none() | number), max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(manifest=manifests)
def test_manifest_written_and_read_back_is_equal(tmp_path_factory, manifest):
    folder = tmp_path_factory.mktemp("release")
    manifest.write(UPath(str(folder)))
    assert manifest_of(UPath(str(folder))) == manifest


def test_manifest_only_files_that_have_rows_say_so(folder):
    write(folder, OLDEST)
    entries = [FileEntry(path="a.parquet", sha256="aa", bytes=3, rows=0), FileEntry(path="b", sha256="bb", bytes=4)]
    dataclasses.replace(manifest_of(folder), files=entries).write(folder)
    assert json.loads((folder / MANIFEST).read_text())["files"] == [
        {"path": "a.parquet", "sha256": "aa", "bytes": 3, "rows": 0},
        {"path": "b", "sha256": "bb", "bytes": 4},
    ]


def test_manifest_of_an_earlier_version_has_the_defaults(folder):
    write(folder, {**OLDEST, "training": TRAINING})
    read = read_manifest(folder)
    assert (read.run_id, read.embedding_dim, read.created, read.files) == ("r1", 8, "", [])
    assert read.encoders == {"text": EncoderRecord(key="minilm", revision="1", dim=384, digest="ef" * 32)}
    assert read.metrics == Evaluation(validation={"recall@20": 0.25})
    assert read.training == Training(**TRAINING, processes=1, warm_start=None)


def test_manifest_without_training_is_read(folder):
    write(folder, OLDEST)
    assert read_manifest(folder).training is None


def test_manifest_of_a_later_version_is_read_but_for_what_is_unknown(folder):
    write(folder, OLDEST)
    known = read_manifest(folder)
    encoders = {"text": {**OLDEST["encoders"]["text"], "licence": "MIT"}}
    write(folder, {**OLDEST, "encoders": encoders, "signature": {"by": "us"}})
    assert read_manifest(folder) == known


def without(field):
    return {key: value for key, value in OLDEST.items() if key != field}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", r"manifest\.json is not valid JSON"),
        ("", r"manifest\.json is not valid JSON"),
        (without("counts"), r"manifest\.json is damaged.*\(counts: Field required\)"),
        ({**without("run_id"), "counts": 3}, r"run_id: Field required; counts: .*dictionary"),
        ({**OLDEST, "counts": {"items": "many"}}, r"counts\.items: .*integer"),
        ({**OLDEST, "embedding_dim": 8.5}, r"embedding_dim: .*integer"),
        ({**OLDEST, "files": [{"path": "a", "bytes": 1}]}, r"files\.0\.sha256: Field required"),
        ({**OLDEST, "metrics": {"test": {"recall@20": None}}}, r"metrics\.test\.recall@20: .*number"),
        ({**OLDEST, "schema_version": 3}, r"has schema version 3, this program reads 1"),
        ({**OLDEST, "schema_version": "1"}, r"has schema version '1', this program reads 1"),
        (without("schema_version"), r"has schema version None, this program reads 1"),
        ([OLDEST], r"has schema version None"),
        ("null", r"has schema version None"),
    ],
)
def test_manifest_that_cannot_be_read_is_named(folder, document, message):
    write(folder, document)
    with pytest.raises(StoreError, match=message) as error:
        read_manifest(folder)
    assert str(folder) in str(error.value)


def test_manifest_missing_is_named_with_the_mend(folder):
    with pytest.raises(
        StoreError,
        match=r"manifest\.json is missing; restore the release from a copy, or delete .* and export it again",
    ):
        read_manifest(folder)


def test_read_manifest_of_an_unfinished_release_says_there_is_none(folder):
    write(folder, OLDEST)
    (folder / SUCCESS).unlink()
    with pytest.raises(StoreError, match=r"there is no release at .* \(no _SUCCESS\); see `microrec run`"):
        read_manifest(folder)
    assert manifest_of(folder).run_id == "r1"


def test_read_manifest_other_than_the_one_registered_is_refused(folder):
    write(folder, OLDEST)
    sha256 = manifest_sha256(folder)
    assert read_manifest(folder, sha256) == read_manifest(folder)
    write(folder, {**OLDEST, "metrics": {"validation": {"recall@20": 1.0}}})
    with pytest.raises(DamagedError, match=rf"manifest\.json is not the one that was registered: .* not {sha256}"):
        read_manifest(folder, sha256)
