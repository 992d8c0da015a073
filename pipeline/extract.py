"""Stage `extract`: encode content that was not seen before; and read the features of a catalogue.

Bit for bit the same however it is cut: float results depend on which contents share a batch, so contents not
seen before are sorted by (length, hash) and cut into groups of whole batches, and a group is published as one
part. Taking finished groups out leaves the other groups as they are. A killed and repeated extraction, and one
in N shards (`pipeline/sharding.py`), therefore make the very parts that one undisturbed process makes.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from features.encoder import Encoder, EncoderSpec
from features.modality import ModalityConfig
from features.pictures import UnreadableError
from features.registry import find_encoder
from pipeline.catalogue import clean_items
from pipeline.columns import ITEM_ID
from pipeline.contents import Content, pictures, texts
from pipeline.errors import InputError
from pipeline.feature_store import OK, UNREADABLE, Encoded, FeatureStore
from pipeline.precomputed import PRECOMPUTED, load_precomputed
from pipeline.sharding import in_groups, of_shard
from pipeline.storage import Store

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.run import Result, Run

DECODERS = 2
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
    items = clean_items(config)
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
    known = store.known()
    unique = {content.digest: content for content in contents if content.digest}
    groups = in_groups([content for digest, content in unique.items() if digest not in known], modality.batch_size)
    mine = of_shard(groups, list(unique.values()), modality.batch_size, shard)
    encoded, calls = _encode_groups(run, name, spec, modality, store, mine) if mine else (0, 0)
    return {
        "encoder": spec.key,
        "items": len(items),
        "contents": len(unique),
        "encoded": encoded,
        "cached": len(unique) - sum(len(group) for group in groups),
        "missing": sum(content.digest is None and content.found for content in contents),
        "not_found": sum(not content.found for content in contents),
        **_unreadable(store, items, contents),
        "encoder_calls": calls,
        "seconds": round(time.monotonic() - start, 3),
    }


def _contents(config: "Config", items: pl.DataFrame, name: str, spec: EncoderSpec) -> list[Content]:
    return texts(items, name, config.modalities[name]) if spec.content == "text" else pictures(items, name, config)


def _encode_groups(
    run: "Run",
    name: str,
    spec: EncoderSpec,
    modality: ModalityConfig,
    store: FeatureStore,
    groups: Sequence[Sequence[Content]],
) -> tuple[int, int]:
    """Encode and publish group after group; return the contents done and the encoder's calls."""
    encoder, calls = spec.load(), 0
    total = sum(len(group) for group in groups)
    with run.reporter.task(f"extract {name}", total) as task, ThreadPoolExecutor(DECODERS) as pool:
        for group in groups:
            done: list[Encoded] = []
            for batch in _prepared_batches(pool, encoder, group, modality.batch_size):
                done += _encode_batch(encoder, batch)
                calls += 1
                task.advance(len(batch))
            store.write_part(done, encoder.dim)
    return total, calls


def _prepared_batches(
    pool: ThreadPoolExecutor, encoder: Encoder, group: Sequence[Content], batch_size: int
) -> Iterator[list[tuple[str, Any]]]:
    """Yield batches of (hash, prepared content or error), the next one being prepared meanwhile."""
    batches = [group[start : start + batch_size] for start in range(0, len(group), batch_size)]
    ahead = [pool.submit(_prepare, encoder, content) for content in batches[0]]
    for following in [*batches[1:], []]:
        current, ahead = ahead, [pool.submit(_prepare, encoder, content) for content in following]
        yield [future.result() for future in current]


def _prepare(encoder: Encoder, content: Content) -> tuple[str, Any]:
    payload = content.source if isinstance(content.source, str) else content.source.read_bytes()
    try:
        return str(content.digest), encoder.prepare(payload)
    except UnreadableError as error:
        return str(content.digest), error


def _encode_batch(encoder: Encoder, batch: Sequence[tuple[str, Any]]) -> list[Encoded]:
    readable = [prepared for _, prepared in batch if not isinstance(prepared, UnreadableError)]
    vectors = iter(encoder.encode(readable) if readable else ())
    return [
        Encoded(digest, None, str(prepared))
        if isinstance(prepared, UnreadableError)
        else Encoded(digest, next(vectors))
        for digest, prepared in batch
    ]


def _unreadable(store: FeatureStore, items: pl.DataFrame, contents: Sequence[Content]) -> "Result":
    _, statuses = store.read([content.digest for content in contents])
    ids = [item for item, status in zip(items[ITEM_ID].to_list(), statuses, strict=True) if status == UNREADABLE]
    return {"unreadable": len(ids), "unreadable_items": ids[:NAMED]}


def load_features(config: "Config", store: Store, items: pl.DataFrame) -> dict[str, ModalityFeatures]:
    """Features of all items in every configured modality, rows in the order of `items`; no encoder is loaded.

    Raises `InputError` when a content has not been extracted.
    """
    return {name: _load_modality(config, store, items, name) for name in config.modalities}


def _load_modality(config: "Config", store: Store, items: pl.DataFrame, name: str) -> ModalityFeatures:
    modality = config.modalities[name]
    ids = items[ITEM_ID].to_list()
    if modality.encoder == PRECOMPUTED:
        vectors = load_precomputed(config, modality, ids)
        digest = vectors.digest(ids)
        return ModalityFeatures(vectors.matrix, vectors.present, PRECOMPUTED, digest[:16], digest)
    spec = find_encoder(name, modality)
    contents = _contents(config, items, name, spec)
    matrix, statuses = FeatureStore(store.features(name, spec.key)).read([content.digest for content in contents])
    unknown = [
        item for item, content, status in zip(ids, contents, statuses, strict=True) if content.digest and status is None
    ]
    if unknown:
        raise InputError(
            f"modality {name}: the content of {len(unknown)} items was never extracted, such as {unknown[0]!r}; "
            "run `microrec extract` (has the catalogue changed since?)"
        )
    parts = "\n".join(f"{item}\t{content.digest}" for item, content in zip(ids, contents, strict=True))
    digest = hashlib.sha256(parts.encode()).hexdigest()
    present = np.array([status == OK for status in statuses], dtype=bool)
    return ModalityFeatures(matrix, present, spec.key, spec.revision, digest)
