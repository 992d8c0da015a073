"""Stage `extract`: encode content that was not seen before.

Bit for bit the same however it is cut: float results depend on which contents share a batch, so contents not
seen before are sorted by (length, hash) and cut into groups of whole batches, and a group is published as one
part. Taking finished groups out leaves the other groups as they are. A killed and repeated extraction, and one
in N shards, therefore make the very parts that one undisturbed process makes. Shards share the bytes of the
catalogue's contents, seen or not, evenly: a group belongs to the shard in whose share its first content lies, so
that shards started at different times agree without a word.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from features.encoder import Encoder, EncoderSpec
from features.modality import ModalityConfig
from features.pictures import UnreadableError
from features.registry import find_encoder
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.cleaning import clean_items
from pipeline.catalogue.contents import GROUPS_AT_ONCE, Content, picture_groups, text_groups
from pipeline.catalogue.precomputed import PRECOMPUTED, load_precomputed
from pipeline.columns import BYTES, CONTENT_HASH, FOUND, IMAGE_PATH, ITEM_ID, SIZE
from pipeline.dataset.feature_store import UNREADABLE, Encoded, FeatureStore
from pipeline.dataset.features import hash_contents
from pipeline.errors import InputError
from pipeline.run import Run
from pipeline.stages.batches import MANY, Batch, prepared_batches
from pipeline.stages.pinned import pinned_input
from pipeline.stages.results import Extraction, ExtractResult

_SHARD = "shard"
NAMED = 20  # unreadable items named in the summary


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How contents are cut; the vectors are the same but for `batches_per_group`."""

    batches_per_group: int = 8
    """Batches that are published as one part."""
    texts_at_once: int = GROUPS_AT_ONCE
    """Groups whose texts are in memory together."""
    many_pictures: int = MANY
    """Pictures from which on processes prepare them."""


DEFAULT = Limits()


def extract(run: Run, folder: Path) -> ExtractResult:
    """Encode what is new of every modality; the features are in the store, so the folder stays empty."""
    return extract_pinned(run)


def extract_pinned(run: Run, modality: str | None = None, shard: tuple[int, int] = (0, 1)) -> ExtractResult:
    """`extract_features` of the tables that the run stands on.

    Raises `InputMovedError` where they are others, before or after.
    """
    with pinned_input(run):
        return extract_features(run, modality, shard)


def extract_features(
    run: Run, modality: str | None = None, shard: tuple[int, int] = (0, 1), limits: Limits = DEFAULT
) -> ExtractResult:
    """Encode what is new, of one modality or all, of one shard or all.

    Raises:
        InputError: a modality that is not configured, or a catalogue that cannot be read.
        FeatureError: an encoder that cannot be used.
    """
    config, catalogue = run.config, run.config.open_catalogue()
    if modality is not None and modality not in config.modalities:
        raise InputError(f"--modality {modality!r}: configured are {', '.join(config.modalities)}")
    items = clean_items(catalogue, [IMAGE_PATH])
    names = [modality] if modality else list(config.modalities)
    done = {
        name: _Extractor(run, catalogue, name, config.modalities[name], limits).extract(items, shard) for name in names
    }
    return ExtractResult(modalities=done)


@dataclass(frozen=True)
class _Extractor:
    """Extracts one modality."""

    run: Run
    catalogue: Catalogue
    name: str
    modality: ModalityConfig
    limits: Limits

    def extract(self, items: pl.DataFrame, shard: tuple[int, int]) -> Extraction:
        """Encode what is new and this shard's."""
        start = time.monotonic()
        if self.modality.encoder == PRECOMPUTED:
            present = load_precomputed(self.catalogue, self.modality, items[ITEM_ID].to_list()).present
            return Extraction(encoder=PRECOMPUTED, items=len(items), with_vector=int(present.sum()))
        spec = find_encoder(self.name, self.modality)
        contents = hash_contents(self.catalogue, self.name, self.modality, spec, items)
        store = FeatureStore(self.run.store.features(self.name, spec.key))
        unique = contents.drop_nulls(CONTENT_HASH).unique(CONTENT_HASH, keep="first").sort(SIZE, CONTENT_HASH)
        unique = unique.with_columns(_shards(unique[BYTES], shard[1]))
        new = unique.filter(store.statuses(unique[CONTENT_HASH]).is_null())
        mine = [group for group in self._groups(new) if group[_SHARD][0] == shard[0]]
        calls, long = self._encode(spec, store, mine) if mine else (0, 0)
        if long and self.modality.long_texts == "cut":
            self.run.reporter.say(
                f"extract {self.name}: {long} texts are longer than the {_reads(spec)} word pieces that the encoder "
                f'reads; the rest is not encoded (modalities.{self.name}.long_texts = "average" encodes all of it)'
            )
        unreadable = items[ITEM_ID].filter(store.statuses(contents[CONTENT_HASH]).eq_missing(UNREADABLE))
        return Extraction(
            encoder=spec.key,
            items=len(items),
            contents=len(unique),
            encoded=sum(len(group) for group in mine),
            cached=len(unique) - len(new),
            missing=contents.select((pl.col(CONTENT_HASH).is_null() & pl.col(FOUND)).sum()).item(),
            not_found=int((~contents[FOUND]).sum()),
            unreadable=len(unreadable),
            unreadable_items=unreadable.head(NAMED).to_list(),
            long=long if spec.text_limit else None,
            encoder_calls=calls,
            seconds=round(time.monotonic() - start, 3),
        )

    def _groups(self, contents: pl.DataFrame) -> Iterator[pl.DataFrame]:
        rows = self.modality.batch_size * self.limits.batches_per_group
        return contents.iter_slices(rows) if len(contents) else iter(())

    def _contents(self, spec: EncoderSpec, groups: Sequence[pl.DataFrame]) -> Iterator[list[Content]]:
        if spec.content == "text":
            return text_groups(self.catalogue, self.name, self.modality.columns, groups, self.limits.texts_at_once)
        return picture_groups(self.catalogue, groups)

    def _encode(self, spec: EncoderSpec, store: FeatureStore, groups: Sequence[pl.DataFrame]) -> tuple[int, int]:
        """Encode and publish group after group; return the encoder's calls, and how many texts are too long for it."""
        contents, batch_size, total = self._contents(spec, groups), self.modality.batch_size, sum(map(len, groups))
        encoder, calls, long, done = spec.load(), 0, 0, list[Encoded]()
        with (
            self.run.reporter.task(f"extract {self.name}", total) as task,
            ThreadPoolExecutor(1) as writer,
            closing(prepared_batches(contents, encoder, batch_size, total, self.limits.many_pictures)) as batches,
        ):
            written: Future[None] | None = None
            for batch, ends_group in batches:
                done += _encode_batch(encoder, batch)
                calls += 1
                long += _count_long(spec, batch)
                task.advance(len(batch))
                if ends_group:
                    if written:
                        written.result()  # never more than one part waits
                    written = writer.submit(store.write_part, done, encoder.dim)
                    done = []
            if written:
                written.result()
        return calls, long


def _count_long(spec: EncoderSpec, batch: Batch) -> int:
    return sum(spec.text_limit.exceeded_by([text for _, text in batch])) if spec.text_limit else 0


def _reads(spec: EncoderSpec) -> int:
    return spec.text_limit.pieces if spec.text_limit else 0


def _shards(num_bytes: pl.Series, count: int) -> pl.Series:
    """The shard of each content in their order: shares of as many bytes each."""
    before = num_bytes.cum_sum() - num_bytes
    return (before * count // max(1, int(num_bytes.sum()))).alias(_SHARD)


def _encode_batch(encoder: Encoder, batch: Batch) -> list[Encoded]:
    readable: list[Any] = [prepared for _, prepared in batch if not isinstance(prepared, UnreadableError)]
    vectors = iter(encoder.encode(readable) if readable else ())
    return [
        Encoded(digest, None, str(prepared))
        if isinstance(prepared, UnreadableError)
        else Encoded(digest, next(vectors))
        for digest, prepared in batch
    ]
