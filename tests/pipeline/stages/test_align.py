"""One space, night after night: exports of a tiny run whose vectors are turned, moved and scaled between nights."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from pipeline import stages
from pipeline.documents import as_document
from pipeline.errors import DamagedError
from pipeline.opening import open_run
from pipeline.registry.champion import Champion
from pipeline.registry.predecessor import PREDECESSOR, predecessor
from pipeline.release.delta import SIDES, apply_delta, changed_rows, read_delta
from pipeline.release.format import read_table
from pipeline.release.manifest import MANIFEST, read_manifest
from pipeline.release.space import ROTATION
from pipeline.release.verify import verify_release
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.export import export
from pipeline.stages.order import do_stage
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import file_sha256, local_path, write_json
from tests.pipeline.release_factory import commit_anew, list_anew, quiet
from tests.pipeline.tiny import make_tiny

DIM = 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run, done up to `evaluate`."""
    run = open_run(
        make_tiny(tmp_path_factory.mktemp("tiny"), model={"embedding_dim": DIM, "neighbours": 4}), "r0", quiet()
    )
    for stage in (stages.PREPARE, stages.TRAIN, stages.EVALUATE):
        do_stage(run, stage)
    return run


@pytest.fixture
def nights(trained, tmp_path):
    """Makes runs of the test's own store, their vectors those of the tiny run after a change."""
    base = tmp_path / "world"
    shutil.copytree(trained.config.base, base)
    config = dataclasses.replace(trained.config, base=base)

    def night(run_id, change=lambda vectors: vectors, **export_settings):
        settings = dataclasses.replace(config.export, **export_settings)
        run = dataclasses.replace(
            trained, id=run_id, config=dataclasses.replace(config, export=settings), store=config.open_store()
        )
        shutil.copytree(local_path(trained.path), local_path(run.path))
        (run.path / PREDECESSOR).unlink()
        file = local_path(run.folder(stages.TRAIN) / VECTORS)
        changed = {name: np.ascontiguousarray(array) for name, array in change(load_file(file)).items()}
        save_file(changed, file)
        commit_anew(run.folder(stages.TRAIN))
        return run

    return night


def turned(seed, noise=0.0, scale=1.0):
    """The same vectors in another space, moved by `noise` and `scale` times as long."""

    def change(vectors):
        rng = np.random.default_rng(seed)
        turn_DD = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
        moved = {
            name: scale * vectors[name] @ turn_DD + noise * rng.normal(size=vectors[name].shape)
            for name in ("user_UD", "item_ID", "content_ID")
        }
        return {**vectors, **{name: array.astype(np.float32) for name, array in moved.items()}}

    return change


def crown(run):
    """Name a champion, as promotion does."""
    manifest = read_manifest(run.store.release(run.id))
    champion = Champion(
        run_id=run.id, digest=manifest.release_digest, model_name="microrec", model_version="1", previous=None
    )
    write_json(run.store.champion, as_document(champion))


def publish(run, folder):
    done = export(run, folder)
    verify_release(run.store, run.id)
    manifest = read_manifest(run.store.release(run.id))
    assert done.drift == manifest.drift
    return run.store.release(run.id), manifest


def embeddings(release, side="items"):
    return vectors_of(read_table(release, SIDES[side][0]), "embedding")


def test_export_second_night_is_rotated_into_the_champions_space_and_scores_stay(nights, tmp_path):
    first = nights("r1")
    before, manifest = publish(first, tmp_path)
    assert (manifest.space.first, manifest.space.champion) == ("r1", None)
    assert manifest.space.reason == "there was no champion when the run began"
    assert (manifest.delta, manifest.drift) == ({}, {})
    assert not (before / "delta").exists()
    crown(first)
    second = nights("r2", turned(1, noise=0.002))
    release, manifest = publish(second, tmp_path)
    raw = load_file(local_path(second.folder(stages.TRAIN) / VECTORS))
    items, users = embeddings(release), embeddings(release, "users")
    np.testing.assert_allclose(users @ items.T, raw["user_UD"] @ raw["item_ID"].T, atol=1e-5)
    assert np.linalg.norm(items - embeddings(before)) < 0.2 * np.linalg.norm(raw["item_ID"] - embeddings(before))
    space = manifest.space
    assert (space.first, space.champion, space.reason) == ("r1", "r1", None)
    assert space.champion_digest == read_manifest(before).release_digest
    assert space.rotation_sha256 == file_sha256(release / ROTATION)
    assert space.known == {"items": len(items), "users": len(users)}
    assert 0 < space.residual["items"] < 0.2
    assert manifest.drift["all"].cosine_median > 0.95


def test_export_of_the_champions_vectors_in_another_space_is_the_champions_release(nights, tmp_path):
    first = nights("r1", turned(3))
    _, before = publish(first, tmp_path)
    crown(first)
    release, manifest = publish(nights("r2", turned(4)), tmp_path)
    assert manifest.release_digest == before.release_digest
    assert manifest.delta == {side: {"added": 0, "removed": 0, "moved": 0} for side in SIDES}
    assert read_delta(release, "items").num_rows == 0
    assert (manifest.drift["all"].neighbours_kept, manifest.drift["users"].recommendations_kept) == (1.0, 1.0)


def test_export_delta_on_the_champions_tables_gives_the_release_to_the_last_bit(nights, tmp_path):
    first = nights("r1")
    before, _ = publish(first, tmp_path)
    crown(first)
    drop_rows(before)
    release, manifest = publish(nights("r2", turned(1, noise=0.01)), tmp_path)
    for side, (table, key) in SIDES.items():
        then, now, delta = read_table(before, table), read_table(release, table), read_delta(release, side)
        rebuilt = apply_delta(then, delta, changed_rows(delta, now, key), key)
        assert rebuilt.replace_schema_metadata().equals(now.replace_schema_metadata().combine_chunks())
    assert manifest.delta["items"]["added"] == 2


def drop_rows(release):
    """Let the champion lack two items that tonight has: nothing but its table is read, and the manifest."""
    file = release / "item_embeddings/part-00000.parquet"
    table = read_table(release, "item_embeddings")
    pq.write_table(table.slice(2), local_path(file))
    list_anew(release)


def test_export_is_aligned_to_the_champion_that_stood_when_the_run_began(nights, tmp_path):
    first, other = nights("r1"), nights("other", turned(5, noise=0.2), align="none")
    for run in (first, other):
        publish(run, tmp_path)
    crown(first)
    night, undisturbed = nights("r2", turned(1, noise=0.1)), nights("r3", turned(1, noise=0.1))
    for run in (night, undisturbed):
        do_stage(run, stages.TRAIN)  # done before: nothing is fixed by looking
        predecessor(run.path, run.store)
    crown(other)  # the run is killed, another is promoted, the run is resumed
    _, resumed = publish(night, tmp_path)
    crown(first)
    _, expected = publish(undisturbed, tmp_path)
    assert resumed.space.champion == "r1"
    assert resumed.release_digest == expected.release_digest


def test_do_stage_first_one_fixes_the_champion(nights, tmp_path):
    first = nights("r1")
    publish(first, tmp_path)
    crown(first)
    night = nights("r2")
    shutil.rmtree(local_path(night.folder(stages.EVALUATE)))
    do_stage(night, stages.EVALUATE)
    assert json.loads((night.path / PREDECESSOR).read_text())["run_id"] == "r1"


def test_export_champion_gone_is_told_and_a_line_of_its_own_helps(nights, tmp_path):
    first = nights("r1")
    release, _ = publish(first, tmp_path)
    crown(first)
    night = nights("r2", turned(1))
    predecessor(night.path, night.store)
    shutil.rmtree(local_path(release))
    message = r"r2 is to be aligned to release r1, .* no longer in .*; put the release back, .*--set export\.align=none"
    with pytest.raises(DamagedError, match=message):
        export(night, tmp_path)
    assert not night.store.release("r2").exists()
    settings = dataclasses.replace(night.config, export=dataclasses.replace(night.config.export, align="none"))
    _, manifest = publish(dataclasses.replace(night, config=settings), tmp_path)
    assert (manifest.space.first, manifest.space.reason) == ("r2", "export.align is 'none'")


def test_export_line_goes_on_from_night_to_night_with_its_score_scale(nights, tmp_path):
    runs = [nights("r1"), nights("r2", turned(1, scale=2.0)), nights("r3", turned(2, scale=0.5))]
    manifests = []
    for run in runs:
        manifests.append(publish(run, tmp_path)[1])
        crown(run)
    assert [manifest.space.first for manifest in manifests] == ["r1", "r1", "r1"]
    assert [manifest.space.champion for manifest in manifests] == [None, "r1", "r2"]
    np.testing.assert_allclose([m.space.score_scale for m in manifests], [1, 4, 1 / 16], rtol=1e-5)
    np.testing.assert_allclose([m.space.line_score_scale for m in manifests], [1, 4, 1 / 4], rtol=1e-5)
    assert manifests[1].drift["all"].norm_ratio == pytest.approx(2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"embedding_dim": 4}, "model.embedding_dim was 4 in release r1, the champion, and is 8 now"),
        (
            {"config": {"model": {"backbone": "mf"}}},
            "model.backbone was mf in release r1, the champion, and is lightgcn now",
        ),
    ],
)
def test_export_another_dimension_or_backbone_begins_a_line_and_says_so(nights, tmp_path, changes, reason):
    first = nights("r1")
    release, _ = publish(first, tmp_path)
    crown(first)
    write_json(release / MANIFEST, {**json.loads((release / MANIFEST).read_text()), **changes})
    night = nights("r2", turned(1))
    _, manifest = publish(night, tmp_path)
    assert (manifest.space.first, manifest.space.champion, manifest.space.reason) == ("r2", None, reason)
    assert f"begins a line of its own: {reason}" in night.reporter.console.file.getvalue().replace("\n", "")


def test_export_champion_of_an_earlier_version_is_the_first_of_its_line(nights, tmp_path):
    first = nights("r1")
    release, _ = publish(first, tmp_path)
    crown(first)
    document = json.loads((release / MANIFEST).read_text())
    for name in ("space", "delta", "drift"):
        del document[name]
    write_json(release / MANIFEST, document)
    _, manifest = publish(nights("r2", turned(1)), tmp_path)
    assert (manifest.space.first, manifest.space.champion) == ("r1", "r1")
