"""A small finished run and its release, written without training: for tests of what comes after."""

import dataclasses
import functools
import io
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import polars as pl
import pyarrow as pa
from safetensors.numpy import save_file
from upath import UPath

from model.epoch import EpochReport
from pipeline import stages
from pipeline.columns import (
    EMBEDDING,
    ITEM_ID,
    ITEM_INDEX,
    SPLIT,
    TRAIN,
    USER_ID,
    USER_INDEX,
    VALIDATION,
)
from pipeline.config.config import Config, compose
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.records import Evaluation
from pipeline.opening import open_run
from pipeline.progress import Reporter
from pipeline.release.delta import SIDES, make_delta, write_deltas
from pipeline.release.fold_in import FoldIn
from pipeline.release.format import (
    INDEX,
    ITEM_EMBEDDINGS,
    ITEM_GRAPH,
    REPORT,
    SCHEMA_VERSION,
    SEEN,
    TABLES_OF,
    USER_VECTORS,
    read_table,
    release_digest,
    write_table,
)
from pipeline.release.increment import Increment, Published, last_number, publish_increment
from pipeline.release.manifest import FileEntry, Manifest, read_manifest
from pipeline.release.space import Space
from pipeline.release.verdict import read_verdict
from pipeline.run import Run, run_stage
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.gate import ask_gate
from pipeline.stages.history import HISTORY, as_rows
from pipeline.stages.results import EvaluateResult, ExportResult, PrepareResult, TrainResult
from pipeline.storage.arrow import vector_column, vectors_of
from pipeline.storage.committed import DIGESTS, RESULT, digests_of
from pipeline.storage.files import SUCCESS, local_path, publish_folder, read_json, scratch, write_json
from pipeline.terminal import Terminal

NUM_USERS, NUM_ITEMS, DIM = 41, 30, 8
NUM_TRAINED = 22
"""Items of the training interactions: popularity and item-kNN fill their lists with them, and miss what is held out."""
INPUT_DIGESTS = {"items.parquet": "ab" * 32, "interactions.parquet": "cd" * 32}


FOLD_IN = FoldIn(pair_weight=0.02, l2=0.3, scale=1.5)


def quiet() -> Reporter:
    """A reporter that keeps what it was told to itself."""
    return Reporter(Terminal(file=io.StringIO()))


def make_config(base: Path, *, database: bool = True, **sections: Any) -> Config:
    """A configuration whose store is `base/store`, with a blank MLflow database unless asked not to."""
    file = base / "store/mlflow.db"
    if database and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blank_database())
    catalogue = {"items": "items.parquet", "interactions": ["interactions.parquet"]}
    document = {"catalogue": catalogue, "store": {"root": "store"}, "model": {"embedding_dim": DIM}}
    return compose({**document, **sections}, base=base)


@functools.cache
def blank_database() -> bytes:
    """An MLflow database with its tables and nothing in them: making one takes a second, copying it nothing."""
    with tempfile.TemporaryDirectory() as folder:
        make_config(Path(folder), database=False).open_tracking()
        return (Path(folder) / "store/mlflow.db").read_bytes()


def make_run(
    config: Config,
    run_id: str,
    *,
    recall: float | None = 0.2,
    seed: int = 0,
    integer_ids: bool = False,
    judged: bool = False,
    schema_version: int = SCHEMA_VERSION,
) -> Run:
    """Write the stages before `register`, and the release; `recall` is validation Recall@20, None for no split.

    Where it is `judged`, the gate is asked first and the release carries its verdict.

    The vectors come to that recall on the dataset's held-out interactions, which are the same in every run.
    """
    run = open_run(config, run_id, quiet())
    metrics = Evaluation(
        validation=None if recall is None else {"recall@20": recall, "ndcg@20": recall / 2},
        test=None if recall is None else {"recall@20": recall * 0.9, "ndcg@20": recall * 0.4},
        slices={"users with fewer than 10 interactions": {"recall@20": 0.1}},
        popularity={"recall@20": 0.05},
    )
    tables = make_tables(seed, integer_ids, recall=0.2 if recall is None else recall)
    history, dataset = make_history(recall is not None), make_dataset(tables, held_out=recall is not None)
    prepared = PrepareResult(input_digests=INPUT_DIGESTS, encoders={}, counts={"users": NUM_USERS, "items": NUM_ITEMS})
    trained = TrainResult(
        epochs=len(history), best_epoch=4, modalities=["text"], device="cpu", threads=1, torch="2.15.0"
    )

    def train(run: Run, folder: Path) -> TrainResult:
        write_json(UPath(str(folder / HISTORY)), as_rows(history))
        save_file(_vectors(tables), folder / VECTORS)
        return trained

    def prepare(run: Run, folder: Path) -> PrepareResult:
        dataset.save(folder)
        return prepared

    run_stage(run, stages.PREPARE, prepare)
    run_stage(run, stages.TRAIN, train)
    run_stage(run, stages.EVALUATE, lambda *_: EvaluateResult(metrics=metrics))
    if judged:
        ask_gate(run)
    run_stage(run, stages.EXPORT, lambda *_: publish_release(run, tables, metrics, schema_version))
    return run


def make_history(validated: bool = True) -> list[EpochReport]:
    """Six epochs, a check on every second."""
    return [
        EpochReport(
            epoch=epoch,
            loss=1 / epoch,
            ranking=0.6 / epoch,
            contrastive=9.0,
            learning_rate=0.01,
            seconds=0.5,
            validation={"recall@20": 0.02 * epoch, "ndcg@20": 0.01 * epoch} if validated and epoch % 2 == 0 else None,
            is_best=False,
        )
        for epoch in range(1, 7)
    ]


def make_tables(seed: int = 0, integer_ids: bool = False, recall: float = 0.2) -> dict[str, pa.Table]:
    """Random unit vectors; the last two items are equal, so that every user scores them alike.

    A user points to the item that the dataset holds out, which is then first, or away from it: then it is last.
    """
    rng = np.random.default_rng(seed)
    item_ID = rng.normal(size=(NUM_ITEMS, DIM)).astype(np.float32)
    item_ID[-1] = item_ID[-2]
    item_ID /= np.linalg.norm(item_ID, axis=1, keepdims=True)
    sign_U = np.where(np.arange(NUM_USERS) < round(recall * (NUM_USERS - 1)), 1, -1).astype(np.float32)
    user_UD = sign_U[:, None] * item_ID[_held_out_item()]
    item_id = pa.array([100 + row if integer_ids else f"item-{row}" for row in range(NUM_ITEMS)])
    user_id = pa.array([2**40 + row if integer_ids else f"user-{row}" for row in range(NUM_USERS)])
    source, ones = pa.array(["interactions"] * NUM_ITEMS), pa.array(np.ones(NUM_ITEMS, dtype=np.float32))
    items = {"embedding": vector_column(item_ID), "content_embedding": vector_column(item_ID), "source": source}
    seen_P2 = np.array(sorted({pair[:2] for pair in _pairs()}))
    graph = {
        "neighbour_id": item_id.take(pa.array(np.arange(NUM_ITEMS)[::-1])),
        "modality": pa.array(["text"] * NUM_ITEMS),
    }
    ranks = {"rank": pa.array(np.ones(NUM_ITEMS, dtype=np.int32)), "weight": ones}
    return {
        ITEM_EMBEDDINGS: _without_nulls({"item_id": item_id, **items, "weight_text": ones}),
        USER_VECTORS: _without_nulls({"user_id": user_id, "embedding": vector_column(user_UD)}),
        ITEM_GRAPH: _without_nulls({"item_id": item_id, **graph, **ranks}),
        SEEN: _without_nulls(
            {"user_id": user_id.take(pa.array(seen_P2[:, 0])), "item_id": item_id.take(pa.array(seen_P2[:, 1]))}
        ),
    }


def _held_out_item() -> np.ndarray:
    """The item that each user's vector is about; it is held out for all but the last."""
    return NUM_TRAINED + np.arange(NUM_USERS) % (NUM_ITEMS - NUM_TRAINED)


def make_dataset(tables: dict[str, pa.Table], *, held_out: bool = True) -> Dataset:
    """One training interaction a user, all trained items for the last one, and one held out for all others."""
    return Dataset(
        items=pl.DataFrame({ITEM_ID: pl.from_arrow(tables[ITEM_EMBEDDINGS].column(ITEM_ID))}),
        users=pl.DataFrame({USER_ID: pl.from_arrow(tables[USER_VECTORS].column(USER_ID))}),
        interactions=pl.DataFrame(_pairs(held_out), schema=[USER_INDEX, ITEM_INDEX, SPLIT], orient="row"),
        features={},
        present={},
    )


def _pairs(held_out: bool = True) -> list[tuple[int, int, str]]:
    pairs = [(user, user % NUM_TRAINED, TRAIN) for user in range(NUM_USERS - 1)]
    pairs += [(NUM_USERS - 1, item, TRAIN) for item in range(NUM_TRAINED)]
    part = VALIDATION if held_out else TRAIN
    return pairs + [(user, int(item), part) for user, item in enumerate(_held_out_item()[:-1])]


def _vectors(tables: dict[str, pa.Table]) -> dict[str, np.ndarray]:
    """What stage `train` writes."""
    item_ID = vectors_of(tables[ITEM_EMBEDDINGS], EMBEDDING)
    return {
        "user_UD": vectors_of(tables[USER_VECTORS], EMBEDDING),
        "item_ID": item_ID,
        "content_ID": item_ID,
        "modality_weight_IM": np.zeros((NUM_ITEMS, 1), dtype=np.float32),
    }


def _without_nulls(columns: dict[str, Any]) -> pa.Table:
    schema = pa.schema([pa.field(name, array.type, nullable=False) for name, array in columns.items()])
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def publish_release(
    run: Run, tables: dict[str, pa.Table], metrics: Evaluation, schema_version: int = SCHEMA_VERSION
) -> ExportResult:
    """Write the tables that a schema version has as the release of `run`, whole."""
    tables = {name: tables[name] for name in TABLES_OF[schema_version]}
    digest, release = release_digest(tables, schema_version), run.store.release(run.id)
    counts = {name: table.num_rows for name, table in tables.items()}
    with scratch(release) as folder:
        for name, table in tables.items():
            write_table(table, folder / name, digest)
        index = faiss.IndexFlatIP(DIM)
        vectors = tables[ITEM_EMBEDDINGS].column("embedding").to_pylist()
        index.add(np.array(vectors, dtype=np.float32))
        faiss.write_index(index, str(folder / INDEX))
        (folder / REPORT).write_text("<!doctype html><title>report</title>")
        verdict = read_verdict(run.path)
        if verdict is not None:
            verdict.write(UPath(str(folder)))
        manifest = Manifest(
            schema_version=schema_version,
            release_digest=digest,
            run_id=run.id,
            microrec_version="0.9",
            embedding_dim=DIM,
            counts=counts,
            config=run.config.as_dict(),
            input_digests=INPUT_DIGESTS,
            encoders={},
            metrics=metrics,
            fold_in=FOLD_IN if schema_version > 1 else None,
            files=[FileEntry.of(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()],
        )
        manifest.write(UPath(str(folder)))
        publish_folder(folder, release)
    return ExportResult(release=str(release), digest=digest, counts=counts)


def list_anew(release: UPath) -> None:
    """Enter the files as they now are in the manifest, as a program that writes releases wrongly would."""
    manifest, folder = read_manifest(release), local_path(release)
    files = [FileEntry.of(folder / entry.path, folder) for entry in manifest.files]
    dataclasses.replace(manifest, files=files).write(release)


def forget_digests(folder: UPath) -> None:
    """Make a committed stage one of an earlier version, which kept no digests."""
    document = read_json(folder / RESULT)
    write_json(folder / RESULT, {key: value for key, value in document.items() if key != DIGESTS})


def give_delta(config: Config, before: str, after: str) -> dict[str, pa.Table]:
    """Give a release the delta from another, as stage `export` does; its manifest's list of files stays as it was."""
    store = config.open_store()
    then, now = store.release(before), store.release(after)
    deltas = {
        side: make_delta(read_table(then, name), read_table(now, name), key) for side, (name, key) in SIDES.items()
    }
    manifest = read_manifest(now)
    write_deltas(deltas, local_path(now), manifest.release_digest)
    space = Space(first=before, champion=before, champion_digest=read_manifest(then).release_digest)
    dataclasses.replace(manifest, space=space).write(now)
    return deltas


def give_increment(config: Config, run_id: str, ids: list[Any], seed: int = 0) -> Published:
    """Publish an increment of these items beside a release, after those that are there."""
    store, table = config.open_store(), make_tables(seed)[ITEM_EMBEDDINGS].slice(0, len(ids))
    table = table.set_column(0, table.schema.field(0), pa.array(ids, table.schema.field(0).type)).sort_by(ITEM_ID)
    source = pa.array(["content"] * len(ids), pa.string())
    table = table.set_column(3, table.schema.field(3), source)
    increments, digest = store.increments_of(run_id), read_manifest(store.release(run_id)).release_digest
    record = Increment(
        number=last_number(increments) + 1,
        run_id=run_id,
        release_digest=digest,
        items=len(ids),
        contents={"text": f"of {ids} {seed}"},
        table_digest="",
    )
    published = publish_increment(increments, record, table)
    assert published
    return published


def commit_anew(folder: UPath) -> None:
    """Enter a stage's files as they now are in its result, as a stage that writes them wrongly would."""
    files = {name: one for name, one in digests_of(local_path(folder)).items() if name not in (RESULT, SUCCESS)}
    write_json(folder / RESULT, {**read_json(folder / RESULT), DIGESTS: files})
