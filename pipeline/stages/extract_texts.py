"""New texts, encoded in groups that do not depend on which process encodes them.

Texts come out bit for bit the same however they are cut: float results depend on which texts share a batch, so texts
not seen before are sorted by (length, hash) and cut into groups of whole batches, and a group is published as one
part. Taking finished groups out leaves the other groups as they are. A killed and repeated extraction, and one
in N shards, therefore make the very parts that one undisturbed process makes. Shards share the bytes of the
catalogue's texts, seen or not, evenly: a group belongs to the shard in whose share its first content lies, so
that shards started at different times agree without a word.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial

import polars as pl

from features.encoder import EncoderSpec
from pipeline.catalogue.contents import read_texts, text_groups
from pipeline.columns import BYTES, CONTENT_HASH, SIZE
from pipeline.dataset.feature_store import Encoded, FeatureStore
from pipeline.stages.batches import Batch, prepared_batches
from pipeline.stages.encoding import Job, encode_batch, written_behind
from pipeline.stages.results import Extraction

_SHARD = "shard"


def extract_texts(job: Job, specs: Sequence[EncoderSpec], items: pl.DataFrame, shard: tuple[int, int]) -> Extraction:
    """Encode what is new and this shard's, by one of the encoders."""
    contents = read_texts(job.catalogue, job.name, job.modality.columns, items)
    spec = job.fitting(specs, contents[CONTENT_HASH])
    store = job.features(spec)
    unique = contents.drop_nulls(CONTENT_HASH).unique(CONTENT_HASH, keep="first").sort(SIZE, CONTENT_HASH)
    unique = unique.with_columns(_shards(unique[BYTES], shard[1]))
    new = unique.filter(store.statuses(unique[CONTENT_HASH]).is_null())
    mine = [group for group in _groups(job, new) if group[_SHARD][0] == shard[0]]
    calls, long = _encode(job, spec, store, mine) if mine else (0, 0)
    if long and job.modality.long_texts == "cut":
        job.run.reporter.say(
            f"extract {job.name}: {long} texts are longer than the {_reads(spec)} word pieces that the encoder "
            f'reads; the rest is not encoded (modalities.{job.name}.long_texts = "average" encodes all of it)'
        )
    return Extraction(
        encoder=spec.key,
        items=len(items),
        contents=len(unique),
        encoded=sum(len(group) for group in mine),
        cached=len(unique) - len(new),
        missing=contents[CONTENT_HASH].null_count(),
        long=long if spec.text_limit else None,
        encoder_calls=calls,
    )


def _groups(job: Job, contents: pl.DataFrame) -> Iterator[pl.DataFrame]:
    return contents.iter_slices(job.part_rows) if len(contents) else iter(())


def _encode(job: Job, spec: EncoderSpec, store: FeatureStore, groups: Sequence[pl.DataFrame]) -> tuple[int, int]:
    """Encode and publish group after group; return the encoder's calls, and how many texts are too long for it."""
    total, size = sum(map(len, groups)), job.modality.batch_size
    contents = text_groups(job.catalogue, job.name, job.modality.columns, groups, job.limits.texts_at_once)
    encoder, calls, long, done = spec.load(), 0, 0, list[Encoded]()
    batches = prepared_batches(contents, encoder, size, total)
    with job.run.reporter.task(f"extract {job.name}", total) as task, written_behind() as write, closing(batches):
        for batch, ends_group in batches:
            done += encode_batch(encoder, batch)
            calls += 1
            long += _count_long(spec, batch)
            task.advance(len(batch))
            if ends_group:
                write(partial(store.write_part, done, encoder.dim))
                done = []
    return calls, long


def _count_long(spec: EncoderSpec, batch: Batch) -> int:
    return sum(spec.text_limit.exceeded_by([text for _, text in batch])) if spec.text_limit else 0


def _reads(spec: EncoderSpec) -> int:
    return spec.text_limit.pieces if spec.text_limit else 0


def _shards(num_bytes: pl.Series, count: int) -> pl.Series:
    """The shard of each content in their order: shares of as many bytes each."""
    before = num_bytes.cum_sum() - num_bytes
    return (before * count // max(1, int(num_bytes.sum()))).alias(_SHARD)
