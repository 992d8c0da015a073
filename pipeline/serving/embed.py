"""`microrec embed`: vectors for items that the model of a release has never seen."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from safetensors.torch import load_file
from upath import UPath

from model.inductive import ContentSide, embed_new_items
from pipeline import stages
from pipeline.catalogue.cleaning import clean_items
from pipeline.columns import CONTENT_EMBEDDING, EMBEDDING, IMAGE_PATH, ITEM_ID, SOURCE, modality_weight
from pipeline.config.config import Config, compose
from pipeline.dataset.dataset import load_dataset
from pipeline.dataset.features import load_features
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.champion import choose_release
from pipeline.release.format import ITEM_EMBEDDINGS, non_null_table, write_table
from pipeline.release.manifest import Manifest, read_manifest
from pipeline.release.rotations import Rotations
from pipeline.run import Run
from pipeline.stages.checkpoint import CONTENT_MAP, PARAMETERS
from pipeline.stages.extract import extract_features
from pipeline.stages.found_weights import with_found_weights
from pipeline.storage.arrow import vector_column
from pipeline.storage.files import (
    is_complete,
    is_local,
    local_copy,
    publish_folder,
    require_known_scheme,
    require_reachable,
    resolve,
    scratch,
)


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What `embed` wrote."""

    release: str
    """Run id of the release whose space the vectors are in."""
    items: int
    out: str
    sources: dict[str, int]
    """Items by what their vector rests on."""


def embed_items(config: Config, items_file: str, out: str, release_name: str | None, reporter: Reporter) -> Embedded:
    """Encode the items, map their content to vectors, and write `OUT/item_embeddings/part-*.parquet`.

    `items_file` and `out` are local, relative to the working directory, or `s3://`.

    The rows have the release's own schema, with `source` = `content` (or `none` for an item without content).

    Raises:
        InputError: the release's run is no longer in the store, its encoders are not the configured ones, or
            OUT holds embeddings already.
    """
    for option, location in (("--items", items_file), ("--out", out)):
        require_known_scheme(location, option)
    store, place = config.open_store(), resolve(out, Path.cwd())
    require_reachable(place, "--out")
    target = place / ITEM_EMBEDDINGS
    # On a disk only whole folders are ever published: one without its marker is somebody else's.
    if is_complete(target) or (is_local(target) and target.exists()):
        raise _taken(target)
    release = choose_release(store, release_name)
    if str(release) != str(store.release(release.name)):
        raise InputError(f"{release} is not in {store.releases}: give the store it belongs to with --set store.root=…")
    manifest = read_manifest(release)
    run = Run.present(manifest.run_id, config, store, reporter)
    training = run.result(stages.TRAIN)
    if training is None:
        raise InputError(f"run {run.id} is no longer in {store.runs}: its parameters are needed to embed new items")
    if not (run.folder(stages.TRAIN) / CONTENT_MAP).exists():
        raise InputError(
            f"run {run.id} has no content map: it used no content, or an older version made it; train again"
        )
    trained = compose(manifest.config, base=config.base)
    asked = dataclasses.replace(
        config,
        catalogue=dataclasses.replace(
            config.catalogue, items=str(resolve(items_file, Path.cwd())), items_from="catalogue"
        ),
        modalities={name: trained.modalities[name] for name in training.modalities},
    )
    items = clean_items(asked.open_catalogue(), [IMAGE_PATH])
    extract_features(dataclasses.replace(run, config=asked))
    table = _embed(run, asked, trained, items, manifest)
    with scratch(target) as folder:
        write_table(table, folder / "table", manifest.release_digest)
        if not publish_folder(folder / "table", target):
            raise _taken(target)
    return Embedded(release=manifest.run_id, items=len(items), out=str(target), sources=_count(table))


def _taken(target: UPath) -> InputError:
    return InputError(f"{target} is there already; choose another --out or delete it")


def _embed(run: Run, asked: Config, trained: Config, items: pl.DataFrame, manifest: Manifest) -> pa.Table:
    known = load_dataset(run.folder(stages.PREPARE))
    new = load_features(asked.open_catalogue(), asked.modalities, run.store, items)
    for name, features in new.items():
        if features.encoder_key != manifest.encoders[name].key:
            raise InputError(
                f"modality {name}: the release was made with encoder {manifest.encoders[name].key}, "
                f"now it is {features.encoder_key}; train again, or install the encoder's former version"
            )
        if features.matrix.shape[1] != known.features[name].shape[1]:
            raise InputError(
                f"modality {name}: the vectors have the length {features.matrix.shape[1]}, the release was made with "
                f"{known.features[name].shape[1]}; name vectors of the same encoder, or train again"
            )
    sides = {
        name: ContentSide(
            known_IF=torch.from_numpy(known.features[name]),
            known_present_I=torch.from_numpy(known.present[name]),
            new_QF=torch.from_numpy(features.matrix),
            new_present_Q=torch.from_numpy(features.present),
        )
        for name, features in new.items()
    }
    with (
        local_copy(run.folder(stages.TRAIN) / PARAMETERS) as file,
        local_copy(run.folder(stages.TRAIN) / CONTENT_MAP) as map_file,
    ):
        model = with_found_weights(trained.model, manifest.training)
        found = embed_new_items(load_file(file), load_file(map_file), sides, model)
    rotations = Rotations.of(run.store.release(run.id))
    weight_QM = found.modality_weight_QM
    has_content = weight_QM.sum(1).numpy() > 0
    columns = {
        ITEM_ID: items[ITEM_ID].to_arrow(),
        EMBEDDING: vector_column(rotations.turned(found.vector_QD.numpy(), EMBEDDING)),
        CONTENT_EMBEDDING: vector_column(rotations.turned(found.content_QD.numpy(), CONTENT_EMBEDDING)),
        SOURCE: pa.array(np.where(has_content, "content", "none").tolist(), pa.string()),
    }
    return non_null_table(
        columns | {modality_weight(name): pa.array(weight_QM[:, index].numpy()) for index, name in enumerate(sides)}
    )


def _count(table: pa.Table) -> dict[str, int]:
    counts: dict[str, int] = {row["values"]: row["counts"] for row in table.column(SOURCE).value_counts().to_pylist()}
    return counts
