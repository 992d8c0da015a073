"""Kinds of `index.faiss`, and the recall that the manifest has of them."""

import dataclasses

import faiss
import numpy as np
import pytest
from upath import UPath

from pipeline.errors import ConfigError, StoreError
from pipeline.release.format import INDEX, ITEM_EMBEDDINGS, read_table
from pipeline.release.index import write_index
from pipeline.release.manifest import read_manifest
from pipeline.release.verify import verify_release
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import file_sha256
from tests.pipeline.release_factory import make_config, make_run

KINDS = {"flat": 1.0, "hnsw": 0.95, "int8": 0.9, "ivf-pq": 0.2}
"""Recall that a kind comes to at least."""


@pytest.fixture(scope="module")
def shop():
    """Items in clusters, and users like them, float32 (I, D) and (U, D)."""
    rng = np.random.default_rng(0)
    centre_CD = rng.normal(size=(40, 16))
    item_ID = centre_CD[rng.integers(40, size=2000)] + 0.5 * rng.normal(size=(2000, 16))
    user_UD = centre_CD[rng.integers(40, size=1500)] + 0.5 * rng.normal(size=(1500, 16))
    return item_ID.astype(np.float32), user_UD.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_write_index_recall_is_that_of_a_search_by_hand(shop, tmp_path, kind):
    item_ID, user_UD = shop
    record = write_index(kind, item_ID, user_UD, tmp_path / INDEX)
    index = faiss.read_index(str(tmp_path / INDEX))
    assert (index.ntotal, index.d, index.metric_type) == (2000, 16, faiss.METRIC_INNER_PRODUCT)
    asked = user_UD[:1000]
    wanted = np.argsort(-(asked @ item_ID.T), axis=1)[:, :20]
    found = index.search(asked, 20)[1]
    recall = np.mean([len(set(one) & set(other)) / 20 for one, other in zip(wanted, found, strict=True)])
    assert record.recall == pytest.approx(recall, abs=1e-4)
    assert (record.kind, record.queries, record.bytes) == (kind, 1000, (tmp_path / INDEX).stat().st_size)
    assert record.recall >= KINDS[kind]


def test_write_index_smaller_kinds_are_smaller(shop, tmp_path):
    size = {kind: write_index(kind, *shop, tmp_path / INDEX).bytes for kind in KINDS}
    assert size["ivf-pq"] < size["int8"] < size["flat"] / 3 < size["flat"] < size["hnsw"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 30])
def test_write_index_small_catalogue_has_every_kind(tmp_path, kind, count):
    item_ID = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    record = write_index(kind, item_ID, item_ID, tmp_path / INDEX)
    assert faiss.read_index(str(tmp_path / INDEX)).ntotal == count
    assert record.kind == ("flat" if kind == "ivf-pq" else kind)  # nothing can be trained on so few


@pytest.mark.parametrize("kind", KINDS)
def test_verify_takes_every_kind_and_refuses_an_exact_one_of_other_vectors(tmp_path, kind):
    run = make_run(make_config(tmp_path, database=False), "r1")
    release = run.store.release("r1")
    item_ID = vectors_of(read_table(release, ITEM_EMBEDDINGS), "embedding")
    replace_index(release, kind, item_ID)
    verify_release(run.store, "r1")
    if kind in ("flat", "hnsw"):
        replace_index(release, kind, item_ID[::-1].copy())
        with pytest.raises(StoreError, match="does not hold the vectors"):
            verify_release(run.store, "r1")


def replace_index(release, kind, item_ID):
    """With its entry in the manifest."""
    write_index(kind, item_ID, item_ID, release / INDEX)
    manifest = read_manifest(release)
    files = [
        dataclasses.replace(one, sha256=file_sha256(UPath(str(release / INDEX)))) if one.path == INDEX else one
        for one in manifest.files
    ]
    dataclasses.replace(manifest, files=files).write(release)


def test_export_index_of_no_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"export\.index: expected 'flat', 'hnsw', 'ivf-pq' or 'int8'"):
        make_config(tmp_path, database=False, export={"index": "annoy"})
