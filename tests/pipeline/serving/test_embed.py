"""Vectors for items that training has not seen, by a release of a tiny run."""

import dataclasses
import shutil

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from model.inductive import ContentSide, embed_new_items
from pipeline import stages
from pipeline.dataset.dataset import load_dataset
from pipeline.errors import ConfigError, InputError
from pipeline.opening import open_run
from pipeline.registry.predecessor import PREDECESSOR
from pipeline.release.format import FOOTER_DIGEST, read_table
from pipeline.release.manifest import read_manifest
from pipeline.run import run_stage
from pipeline.serving import embed
from pipeline.serving.embed import Embedded, embed_items
from pipeline.stages.checkpoint import CONTENT_MAP, PARAMETERS
from pipeline.stages.export import export
from pipeline.stages.order import do_stage
from pipeline.storage.arrow import vector_column, vectors_of
from pipeline.storage.files import local_path, write_json
from tests.pipeline.release_factory import forget_digests, list_anew, quiet
from tests.pipeline.tiny import FEATURES, WITHOUT_CONTENT, make_tiny, write_vectors


@dataclasses.dataclass
class World:
    """A finished run `r1` with its release, and the place of what is made with it."""

    config: object
    out: object

    @property
    def store(self):
        return self.config.open_store()

    @property
    def run_folder(self):
        return local_path(self.store.run("r1"))

    def embed(self, ids, name="new", config=None, release="r1"):
        """Write a catalogue of these items, embed them, and return what was told."""
        file = self.out / f"{name}.parquet"
        pl.DataFrame({"item_id": ids}).write_parquet(file)
        return embed_items(config or self.config, str(file), str(self.out / name), release, quiet())

    def table(self, name="new"):
        return pq.read_table(self.out / name / "item_embeddings/part-00000.parquet")


def make_world(folder, **options):
    config = make_tiny(folder, **options)
    run = open_run(config, "r1", quiet())
    for stage in (stages.PREPARE, stages.TRAIN, stages.EVALUATE):
        do_stage(run, stage)
    run_stage(run, stages.EXPORT, export)
    return World(config, folder / "out")


@pytest.fixture(scope="module", params=[False, True], ids=["text ids", "integer ids"])
def shared(request, tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), integer_ids=request.param)


@pytest.fixture
def world(shared, tmp_path):
    """Its run and release are never changed by a test."""
    return World(shared.config, tmp_path)


@pytest.fixture
def own_world(world, tmp_path):
    """A copy, to change."""
    base = tmp_path / "copy"
    shutil.copytree(world.config.base, base)
    return World(dataclasses.replace(world.config, base=base), tmp_path)


def known_ids(world):
    return load_dataset(world.store.run("r1") / "prepare").items["item_id"].to_list()


def test_embed_items_have_the_schema_of_the_release(world):
    world.embed(known_ids(world)[:3])
    assert world.table().schema.equals(read_table(world.store.release("r1"), "item_embeddings").schema)


def test_embed_items_footer_names_the_release_whose_space_it_is(world):
    world.embed(known_ids(world)[:3])
    digest = read_manifest(world.store.release("r1")).release_digest
    assert world.table().schema.metadata[FOOTER_DIGEST] == digest.encode()


def test_embed_items_keeps_the_ids_and_sorts_the_rows_by_them(world):
    ids = known_ids(world)
    stranger = 7 if isinstance(ids[0], int) else "a new one"
    told = world.embed([ids[4], ids[0], stranger, ids[2]])
    assert world.table().column("item_id").to_pylist() == [stranger, ids[0], ids[2], ids[4]]
    assert told == Embedded(
        release="r1",
        items=4,
        out=str(world.out / "new/item_embeddings"),
        sources={"content": 3, "none": 1},
    )


def test_embed_items_without_content_have_source_none_and_zeros(world):
    ids = known_ids(world)
    world.embed([ids[0], ids[WITHOUT_CONTENT]])
    table = world.table()
    assert table.column("source").to_pylist() == ["content", "none"]
    for column in ("embedding", "content_embedding"):
        content, nothing = vectors_of(table, column)
        assert np.abs(content).sum() > 0
        assert np.abs(nothing).sum() == 0
    assert table.column("weight_text").to_pylist() == [1, 0]


def test_embed_items_none_of_them_with_content_are_written_all_the_same(world):
    assert world.embed([known_ids(world)[WITHOUT_CONTENT]]).sources == {"none": 1}


def test_embed_items_known_content_gives_the_vectors_of_the_model(world):
    """The vector of an item's content is the model's own formula on the vectors of the precomputed file."""
    ids, folder = known_ids(world), world.store.run("r1")
    rows = [0, 5, 12]
    world.embed([ids[row] for row in rows])
    known = load_dataset(folder / "prepare")
    features, present = (torch.from_numpy(side["text"]) for side in (known.features, known.present))
    side = ContentSide(
        known_IF=features, known_present_I=present, new_QF=features[rows], new_present_Q=torch.ones(3, dtype=torch.bool)
    )
    parameters = load_file(local_path(folder / "train" / PARAMETERS))
    maps = load_file(local_path(folder / "train" / CONTENT_MAP))
    expected = embed_new_items(parameters, maps, {"text": side}, world.config.model)
    np.testing.assert_allclose(vectors_of(world.table(), "embedding"), expected.vector_QD, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        vectors_of(world.table(), "content_embedding"), expected.content_QD, rtol=1e-5, atol=1e-6
    )


def test_embed_items_of_a_rotated_release_are_rotated_like_it(own_world):
    """Its champion is the same release in another space: the training's own vectors are those of neither."""
    store, ids = own_world.store, known_ids(own_world)
    turn_DD = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    champion = store.release("r1")
    for name in ("item_embeddings", "user_vectors"):
        table = read_table(champion, name)
        for column in {"embedding", "content_embedding"} & set(table.column_names):
            vectors = vector_column(vectors_of(table, column) @ turn_DD)
            table = table.set_column(table.column_names.index(column), table.schema.field(column), vectors)
        pq.write_table(table, local_path(champion / name / "part-00000.parquet"))
    list_anew(champion)
    digest = read_manifest(champion).release_digest
    shutil.copytree(own_world.run_folder, local_path(store.run("r2")))
    shutil.rmtree(local_path(store.run("r2") / "export"))
    write_json(store.run("r2") / PREDECESSOR, {"run_id": "r1", "digest": digest})
    run_stage(open_run(own_world.config, "r2", quiet()), stages.EXPORT, export)
    own_world.embed(ids[:3], name="plain", release="r1")
    own_world.embed(ids[:3], name="rotated", release="r2")
    for column in ("embedding", "content_embedding"):
        plain, rotated = (vectors_of(own_world.table(name), column) for name in ("plain", "rotated"))
        np.testing.assert_allclose(rotated, plain @ turn_DD, atol=1e-5)
        assert np.abs(rotated - plain).max() > 0.1


def test_embed_items_that_nobody_touched_get_the_vector_they_have_in_the_release(world):
    """The release has it from the same content map."""
    row = WITHOUT_CONTENT - 1
    world.embed([known_ids(world)[row]])
    theirs = read_table(world.store.release("r1"), "item_embeddings")
    assert theirs.column("source").to_pylist()[row] == "content"
    np.testing.assert_allclose(
        vectors_of(world.table(), "embedding")[0], vectors_of(theirs, "embedding")[row], rtol=1e-5, atol=1e-6
    )


def test_embed_items_new_vectors_are_read_from_the_configured_file(own_world):
    """New items stand in the file of vectors beside the known ones."""
    ids = known_ids(own_world)
    new = 999 if isinstance(ids[0], int) else "new"
    file = own_world.config.base / "text.parquet"
    known = pl.read_parquet(file)
    matrix = np.vstack([known["vector"].to_numpy(), known["vector"].to_numpy()[3]])
    write_vectors(file, [*known["item_id"], new], matrix)
    own_world.embed([ids[3], new])
    twin, other = vectors_of(own_world.table(), "embedding")
    np.testing.assert_array_equal(twin, other)
    assert np.abs(twin).sum() > 0


def test_embed_items_vectors_of_another_length_are_refused(own_world):
    ids = known_ids(own_world)
    write_vectors(own_world.config.base / "text.parquet", ids[:3], np.ones((3, FEATURES + 1)))
    with pytest.raises(InputError, match=r"modality text: the vectors have the length 7, the release was made with 6"):
        own_world.embed(ids[:3])


def test_embed_items_by_another_encoder_are_refused(own_world):
    manifest = own_world.store.release("r1") / "manifest.json"
    document = read_manifest(own_world.store.release("r1"))
    other = dataclasses.replace(document.encoders["text"], key="minilm-1")
    write_json(manifest, dataclasses.asdict(dataclasses.replace(document, encoders={"text": other})))
    with pytest.raises(InputError, match=r"modality text: .* made with encoder minilm-1, now it is precomputed"):
        own_world.embed(known_ids(own_world)[:2])
    assert not (own_world.out / "new").exists()


def test_embed_items_where_vectors_are_already_is_refused_and_leaves_them(world):
    ids = known_ids(world)
    world.embed(ids[:2])
    before = world.table()
    with pytest.raises(InputError, match=r"new/item_embeddings is there already; choose another --out or delete it"):
        world.embed(ids[:3])
    assert world.table().equals(before)
    assert [path.name for path in (world.out / "new").iterdir() if path.name != ".lock"] == ["item_embeddings"]


def test_embed_items_folder_of_somebody_else_is_refused_and_left(world):
    theirs = world.out / "new/item_embeddings/mine.parquet"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    with pytest.raises(InputError, match="is there already"):
        world.embed(known_ids(world)[:2])
    assert theirs.read_text() == "theirs"


def test_embed_items_overtaken_by_another_attempt_leaves_what_is_there(world, monkeypatch):
    ids = known_ids(world)
    extracted = embed.extract_features

    def overtaken(run):
        monkeypatch.setattr(embed, "extract_features", extracted)
        world.embed(ids[:1])
        return extracted(run)

    monkeypatch.setattr(embed, "extract_features", overtaken)
    with pytest.raises(InputError, match="is there already"):
        world.embed(ids[:1])
    assert world.table().column("item_id").to_pylist() == ids[:1]


def test_embed_items_when_the_run_is_gone_is_refused(own_world):
    shutil.rmtree(own_world.run_folder)
    with pytest.raises(InputError, match=r"run r1 is no longer in .*runs: its parameters are needed"):
        own_world.embed([1])


def test_embed_items_of_a_run_without_content_map_are_refused(own_world):
    forget_digests(own_world.store.run("r1") / "train")
    (own_world.run_folder / "train" / CONTENT_MAP).unlink()
    with pytest.raises(InputError, match=r"run r1 has no content map: .* train again"):
        own_world.embed([1])


def test_embed_items_with_a_release_of_another_store_is_refused(world):
    other = dataclasses.replace(world.config, store=dataclasses.replace(world.config.store, root=str(world.out / "s")))
    with pytest.raises(InputError, match=r"is not in .*give the store it belongs to"):
        world.embed([1], config=other, release=str(world.store.release("r1")))


@pytest.mark.parametrize(("items", "out", "option"), [("ftp://x", "out", "--items"), ("new.csv", "ftp://x", "--out")])
def test_embed_items_location_of_an_unknown_kind_is_refused(world, items, out, option):
    with pytest.raises(ConfigError, match=f"^{option}: "):
        embed_items(world.config, items, out, "r1", quiet())


def test_embed_items_without_the_file_of_vectors_is_refused(own_world):
    (own_world.config.base / "text.parquet").unlink()
    with pytest.raises(InputError, match=r"text\.parquet does not exist"):
        own_world.embed(known_ids(own_world)[:2])
