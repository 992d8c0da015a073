"""Stage `extract`: encode content that was not seen before; and read the features of a catalogue.

Bit for bit the same however it is cut: float results depend on which contents share a batch, so contents not
seen before are sorted by (length, hash) and cut into groups of whole batches, and a group is published as one
part. Taking finished groups out leaves the other groups as they are. A killed and repeated extraction, and one
in N shards, therefore make the very parts that one undisturbed process makes. Shards share the bytes of the
catalogue's contents, seen or not, evenly: a group belongs to the shard in whose share its first content lies, so
that shards started at different times agree without a word.
"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from features.encoder import Encoder, EncoderSpec
from features.pictures import UnreadableError
from features.registry import find_encoder
from pipeline.catalogue import clean_items
from pipeline.columns import BYTES, CONTENT_HASH, FOUND, IMAGE_PATH, ITEM_ID, SIZE
from pipeline.contents import picture_groups, read_pictures, read_texts, text_groups
from pipeline.errors import InputError
from pipeline.feature_store import OK, UNREADABLE, Encoded, FeatureStore
from pipeline.precomputed import PRECOMPUTED, load_precomputed
from pipeline.prepared import Batch, prepared_batches
from pipeline.storage import Store

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.run import Result, Run

BATCHES_PER_GROUP = 8
AT_ONCE = 100_000
_SHARD = "shard"
NAMED = 20  # unreadable items named in the summary


@dataclass(frozen=True)
class ModalityFeatures:
    """The features of a catalogue in one modality."""

    matrix: np.ndarray
    """float32 (I, D), zero where absent."""
    present: np.ndarray
    """bool (I,)."""
    encoder_key: str
    revision: str
    digest: str
    """sha256 over ids and contents."""


def extract(run: "Run", modality: str | None = None, shard: tuple[int, int] = (0, 1)) -> "Result":
    """Encode what is new, of one modality or all, of one shard or all; return a summary per modality.

    Raises:
        InputError: a modality that is not configured, or a catalogue that cannot be read.
        FeatureError: an encoder that cannot be used.
    """
    config = run.config
    if modality is not None and modality not in config.modalities:
        raise InputError(f"--modality {modality!r}: configured are {', '.join(config.modalities)}")
    items = clean_items(config, [IMAGE_PATH])
    names = [modality] if modality else list(config.modalities)
    return {name: _extract_modality(run, items, name, shard) for name in names}


def _extract_modality(run: "Run", items: pl.DataFrame, name: str, shard: tuple[int, int]) -> "Result":
    start = time.monotonic()
    modality = run.config.modalities[name]
    if modality.encoder == PRECOMPUTED:
        present = load_precomputed(run.config, modality, items[ITEM_ID].to_list()).present
        return {"encoder": PRECOMPUTED, "items": len(items), "with_vector": int(present.sum()), "encoded": 0}
    spec = find_encoder(name, modality)
    contents = _contents(run.config, items, name, spec)
    store = FeatureStore(run.store.features(name, spec.key))
    unique = contents.drop_nulls(CONTENT_HASH).unique(CONTENT_HASH, keep="first").sort(SIZE, CONTENT_HASH)
    unique = unique.with_columns(_shards(unique[BYTES], shard[1]))
    new = unique.filter(store.statuses(unique[CONTENT_HASH]).is_null())
    mine = [group for group in _groups(new, modality.batch_size) if group[_SHARD][0] == shard[0]]
    calls = _encode_groups(run, name, spec, store, mine) if mine else 0
    return {
        "encoder": spec.key,
        "items": len(items),
        "contents": len(unique),
        "encoded": sum(len(group) for group in mine),
        "cached": len(unique) - len(new),
        "missing": contents.select((pl.col(CONTENT_HASH).is_null() & pl.col(FOUND)).sum()).item(),
        "not_found": int((~contents[FOUND]).sum()),
        **_unreadable(store, items, contents),
        "encoder_calls": calls,
        "seconds": round(time.monotonic() - start, 3),
    }


def _contents(config: "Config", items: pl.DataFrame, name: str, spec: EncoderSpec) -> pl.DataFrame:
    return (read_texts if spec.content == "text" else read_pictures)(config, name, items)


def _groups(contents: pl.DataFrame, batch_size: int) -> list[pl.DataFrame]:
    return list(contents.iter_slices(batch_size * BATCHES_PER_GROUP)) if len(contents) else []


def _shards(num_bytes: pl.Series, count: int) -> pl.Series:
    """The shard of each content in their order: shares of as many bytes each."""
    before = num_bytes.cum_sum() - num_bytes
    return (before * count // max(1, int(num_bytes.sum()))).alias(_SHARD)


def _encode_groups(
    run: "Run", name: str, spec: EncoderSpec, store: FeatureStore, groups: Sequence[pl.DataFrame]
) -> int:
    """Encode and publish group after group; return the encoder's calls."""
    config, batch_size = run.config, run.config.modalities[name].batch_size
    contents = text_groups(config, name, groups) if spec.content == "text" else picture_groups(config, groups)
    total = sum(map(len, groups))
    encoder, calls, done = spec.load(), 0, list[Encoded]()
    with (
        run.reporter.task(f"extract {name}", total) as task,
        ThreadPoolExecutor(1) as writer,
        closing(prepared_batches(contents, encoder, batch_size, total)) as batches,
    ):
        written: Future[None] | None = None
        for batch, ends_group in batches:
            done += _encode_batch(encoder, batch)
            calls += 1
            task.advance(len(batch))
            if ends_group:
                if written:
                    written.result()  # never more than one part waits
                written = writer.submit(store.write_part, done, encoder.dim)
                done = []
        if written:
            written.result()
    return calls


def _encode_batch(encoder: Encoder, batch: Batch) -> list[Encoded]:
    readable = [prepared for _, prepared in batch if not isinstance(prepared, UnreadableError)]
    vectors = iter(encoder.encode(readable) if readable else ())
    return [
        Encoded(digest, None, str(prepared))
        if isinstance(prepared, UnreadableError)
        else Encoded(digest, next(vectors))
        for digest, prepared in batch
    ]


def _unreadable(store: FeatureStore, items: pl.DataFrame, contents: pl.DataFrame) -> "Result":
    ids = items[ITEM_ID].filter(store.statuses(contents[CONTENT_HASH]).eq_missing(UNREADABLE))
    return {"unreadable": len(ids), "unreadable_items": ids.head(NAMED).to_list()}


def load_features(config: "Config", store: Store, items: pl.DataFrame) -> dict[str, ModalityFeatures]:
    """Features of all items in every configured modality, rows in the order of `items`; no encoder is loaded.

    Raises `InputError` when a content has not been extracted.
    """
    return {name: _load_modality(config, store, items, name) for name in config.modalities}


def _load_modality(config: "Config", store: Store, items: pl.DataFrame, name: str) -> ModalityFeatures:
    modality, ids = config.modalities[name], items[ITEM_ID]
    if modality.encoder == PRECOMPUTED:
        vectors = load_precomputed(config, modality, ids.to_list())
        digest = vectors.digest(ids.to_list())
        return ModalityFeatures(vectors.matrix, vectors.present, PRECOMPUTED, digest[:16], digest)
    spec = find_encoder(name, modality)
    hashes = _contents(config, items, name, spec)[CONTENT_HASH]
    matrix, statuses = FeatureStore(store.features(name, spec.key)).read(hashes)
    unknown = ids.filter(hashes.is_not_null() & statuses.is_null())
    if len(unknown):
        raise InputError(
            f"modality {name}: the content of {len(unknown)} items was never extracted, such as {unknown[0]!r}; "
            "run `microrec extract` (has the catalogue changed since?)"
        )
    return ModalityFeatures(matrix, (statuses.eq_missing(OK)).to_numpy(), spec.key, spec.revision, _digest(ids, hashes))


def _digest(ids: pl.Series, hashes: pl.Series) -> str:
    digest = hashlib.sha256()
    for rows in pl.DataFrame([ids.alias(ITEM_ID), hashes.alias(CONTENT_HASH)]).iter_slices(AT_ONCE):
        digest.update("".join(f"{item}\t{content}\n" for item, content in rows.iter_rows()).encode())
    return digest.hexdigest()
