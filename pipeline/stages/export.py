"""Stage `export`: the release, written beside, checked, and published with its marker last."""

import dataclasses
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import load_file, save_file
from upath import UPath

from model.graph import nearest_neighbours
from pipeline import stages
from pipeline.columns import (
    CONTENT_EMBEDDING,
    EMBEDDING,
    ITEM_ID,
    ITEM_INDEX,
    MODALITY,
    NEIGHBOUR_ID,
    RANK,
    SIMILARITY,
    SOURCE,
    TRAIN,
    USER_ID,
    USER_INDEX,
    modality_weight,
)
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.records import Training
from pipeline.errors import DamagedError
from pipeline.release.delta import count_changes, write_deltas
from pipeline.release.fold_in import FoldIn
from pipeline.release.format import (
    INDEX,
    ITEM_EMBEDDINGS,
    ITEM_GRAPH,
    REPORT,
    SCHEMA_VERSION,
    SEEN,
    SORTED_BY,
    TABLES,
    USER_VECTORS,
    non_null_table,
    release_digest,
    write_table,
)
from pipeline.release.index import write_index
from pipeline.release.manifest import FileEntry, Manifest, manifest_sha256, read_manifest
from pipeline.release.neighbour_grid import neighbour_grids
from pipeline.release.report import write_report
from pipeline.release.signature import read_signing_key, sign
from pipeline.release.space import ROTATION, Space
from pipeline.release.verdict import read_verdict
from pipeline.release.verify import check_release
from pipeline.run import Run, require_present
from pipeline.stages.align import Aligned, align
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.input_checks import count_input
from pipeline.stages.movement import Movement, movement
from pipeline.stages.release_report import Made, report_content
from pipeline.stages.results import ExportResult
from pipeline.stages.shown.neighbours import LEARNED
from pipeline.storage.arrow import vector_column
from pipeline.storage.files import file_sha256, publish_folder, scratch


def export(run: Run, folder: Path) -> ExportResult:
    """Publish `releases/<run_id>`, with what the gate said of the run, unless the run has begun again meanwhile.

    The stage's own folder has the neighbour grids, for MLflow.
    """
    dataset = load_dataset(run.folder(stages.PREPARE))
    with run.committed(stages.TRAIN).open(VECTORS) as file:
        aligned = align(run, dataset, load_file(file))
    vectors, done = aligned.vectors, run.result(stages.EXPORT)
    tables = {
        ITEM_EMBEDDINGS: item_table(dataset, vectors, run.require(stages.TRAIN).modalities),
        USER_VECTORS: user_table(dataset, vectors),
        ITEM_GRAPH: graph_table(dataset, vectors, run.config.model.neighbours),
        SEEN: seen_table(dataset),
    }
    digest, counts = release_digest(tables), {name: tables[name].num_rows for name in TABLES}
    moved = movement(aligned, tables, dataset)
    release = run.store.release(run.id)
    with scratch(release) as beside:
        for name in TABLES:
            write_table(tables[name], beside / name, digest, sorted_by=SORTED_BY[name])
        index = write_index(run.config.export.index, vectors["item_ID"], vectors["user_UD"], beside / INDEX)
        space = write_space(aligned, moved, beside, digest)
        verdict = read_verdict(run.path)
        if verdict is not None:
            verdict.write(UPath(str(beside)))
        made = Made(digest=digest, tables=tables, aligned=aligned, moved=moved, space=space, verdict=verdict)
        content = report_content(run, dataset, made)
        write_report(beside / REPORT, content)
        for name, svg in neighbour_grids(content.neighbours, content.cards).items():
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        manifest = with_space(make_manifest(run, counts, digest, beside), space, moved)
        manifest = dataclasses.replace(manifest, fold_in=measure_fold_in(dataset, vectors), index=index)
        manifest.write(UPath(str(beside)))
        if run.config.signing_key:
            sign(UPath(str(beside)), read_signing_key(run.config.signing_key))
        check_release(UPath(str(beside)))
        require_present(run)
        publish_folder(beside, release)
    published = read_manifest(release)  # another attempt's, where that was faster
    if published.release_digest != digest or (done and done.digest != digest):
        raise DamagedError(f"{release} was another release before; use a new run id")
    return ExportResult(
        release=str(release),
        digest=digest,
        counts=counts,
        manifest_sha256=manifest_sha256(release),
        drift=published.drift,
    )


def item_table(dataset: Dataset, vectors: dict[str, np.ndarray], modalities: list[str]) -> pa.Table:
    """item_id, embedding, content_embedding, source, one attention weight per modality."""
    weight_IM = vectors["modality_weight_IM"]
    table = {
        ITEM_ID: dataset.items[ITEM_ID].to_arrow(),
        EMBEDDING: vector_column(vectors["item_ID"]),
        CONTENT_EMBEDDING: vector_column(vectors["content_ID"]),
        SOURCE: pa.array(sources(dataset, weight_IM), pa.string()),
    }
    table |= {modality_weight(name): pa.array(weight_IM[:, index]) for index, name in enumerate(modalities)}
    return non_null_table(table)


def sources(dataset: Dataset, weight_IM: np.ndarray) -> list[str]:
    """What an item's vector rests on: `interactions+content`, `interactions`, `content` or `none`."""
    trained_I = np.zeros(len(dataset.items), dtype=bool)
    trained_I[dataset.pairs(TRAIN)[1].numpy()] = True
    content_I = weight_IM.sum(1) > 0
    names = {
        (True, True): "interactions+content",
        (True, False): "interactions",
        (False, True): "content",
        (False, False): "none",
    }
    return [names[bool(trained), bool(content)] for trained, content in zip(trained_I, content_I, strict=True)]


def user_table(dataset: Dataset, vectors: dict[str, np.ndarray]) -> pa.Table:
    """user_id, embedding."""
    return non_null_table({USER_ID: dataset.users[USER_ID].to_arrow(), EMBEDDING: vector_column(vectors["user_UD"])})


def seen_table(dataset: Dataset) -> pa.Table:
    """user_id, item_id: all interactions that were kept, of every part of the split, sorted."""
    pairs = dataset.interactions.sort(USER_INDEX, ITEM_INDEX)
    columns = {USER_ID: (dataset.users, USER_INDEX), ITEM_ID: (dataset.items, ITEM_INDEX)}
    return non_null_table({name: table[name].gather(pairs[row]).to_arrow() for name, (table, row) in columns.items()})


def measure_fold_in(dataset: Dataset, vectors: dict[str, np.ndarray]) -> FoldIn:
    """How users are folded in, by those who were trained."""
    pairs = dataset.interactions.sort(USER_INDEX, ITEM_INDEX)
    user_P, item_P = pairs[USER_INDEX].to_numpy(), pairs[ITEM_INDEX].to_numpy()
    return FoldIn.measured(vectors["item_ID"], vectors["user_UD"], user_P, item_P)


def graph_table(dataset: Dataset, vectors: dict[str, np.ndarray], num_neighbours: int) -> pa.Table:
    """Nearest neighbours by cosine, the item itself left out; by each modality and by the learned vectors; by item."""
    item_id = dataset.items[ITEM_ID].to_arrow()
    everything = np.ones(len(item_id), dtype=bool)
    matrices = {name: (matrix, dataset.present[name]) for name, matrix in sorted(dataset.features.items())}
    matrices[LEARNED] = (vectors["item_ID"], everything)
    parts = [
        _neighbour_rows(item_id, name, matrix, present, num_neighbours) for name, (matrix, present) in matrices.items()
    ]
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in SORTED_BY[ITEM_GRAPH]])


def _neighbour_rows(item_id: Any, name: str, matrix: np.ndarray, present: np.ndarray, num_neighbours: int) -> pa.Table:
    graph = nearest_neighbours(torch.from_numpy(matrix), torch.from_numpy(present), num_neighbours + 1)
    similarity = graph.similarity_IK[:, 1:].numpy()
    item, place = np.nonzero(similarity > 0)
    return non_null_table(
        {
            ITEM_ID: item_id.take(pa.array(item)),
            NEIGHBOUR_ID: item_id.take(pa.array(graph.neighbour_IK[:, 1:].numpy()[item, place])),
            MODALITY: pa.array([name] * len(item), pa.string()),
            RANK: pa.array(place.astype(np.int32) + 1),
            SIMILARITY: pa.array(similarity[item, place]),
        }
    )


def write_space(aligned: Aligned, moved: Movement, folder: Path, digest: str) -> Space:
    """Write the rotation and the delta of a release that goes on with a line; the space it is in."""
    if aligned.former is None:
        return aligned.space
    save_file(aligned.rotations, folder / ROTATION)
    write_deltas(moved.deltas, folder, digest)
    return dataclasses.replace(aligned.space, rotation_sha256=file_sha256(folder / ROTATION))


def with_space(manifest: Manifest, space: Space, moved: Movement) -> Manifest:
    """The manifest with what is said of the space and of what has moved in it."""
    changes = {side: count_changes(delta) for side, delta in moved.deltas.items()}
    return dataclasses.replace(manifest, space=space, delta=changes, drift=moved.drift)


def make_manifest(run: Run, counts: dict[str, int], digest: str, folder: Path) -> Manifest:
    """The manifest of the files that stand in `folder`; `counts` are the tables' rows."""
    prepared, trained = run.require(stages.PREPARE), run.require(stages.TRAIN)
    validated = run.result(stages.VALIDATE)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        schema_version=SCHEMA_VERSION,
        release_digest=digest,
        run_id=run.id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        microrec_version=version("microrec"),
        embedding_dim=run.config.model.embedding_dim,
        counts={**prepared.counts, **counts},
        config=run.config.as_dict(),
        input_digests=prepared.input_digests,
        input=count_input(validated.report, run.config) if validated else None,
        encoders=prepared.encoders,
        training=Training(**{field.name: getattr(trained, field.name) for field in dataclasses.fields(Training)}),
        metrics=run.require(stages.EVALUATE).metrics,
        files=[FileEntry.of(path, folder) for path in files],
    )
