"""Pictures that were not seen before: read once, hashed, decoded and encoded in one pass, by the shard that owns them.

The owner of a picture is known before anything is read: its `image_path` decides. A picture's vector does not
depend on the pictures that are encoded with it (`encode_batch`). So it does not matter how they are divided, and two
shards that find one content in two places write the same vector.

Pictures are remembered after their features are written. A killed extraction therefore reads again what it had not
remembered, and encodes what it had not written.
"""

import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import polars as pl

from features.encoder import Encoder, EncoderSpec
from features.pictures import UnreadableError
from pipeline.catalogue.contents import UnreadPicture, require_image_path
from pipeline.catalogue.listing import list_pictures
from pipeline.catalogue.pictures import PictureRead
from pipeline.columns import CONTENT_HASH, IMAGE_PATH, ITEM_ID, LOCATION, PROBLEM, SHA256
from pipeline.dataset.content_store import ContentStore
from pipeline.dataset.feature_store import UNREADABLE, Digests, Encoded, FeatureStore
from pipeline.stages.batches import prepared_batches
from pipeline.stages.encoding import Job, Write, encode_batch, written_behind
from pipeline.stages.pinned_pictures import pinned_listing, pinned_pictures
from pipeline.stages.results import Extraction

NAMED = 20  # unreadable items named in the summary


def _lacking(listing: pl.DataFrame, contents: ContentStore, features: FeatureStore, *, trusted: bool) -> pl.DataFrame:
    """The pictures of the listing that must be read, once for each location and each content that is known.

    `content_hash` is null where the content is not known.

    Args: trusted: whether a version that was read before is known.
    """
    there = listing.filter(pl.col(PROBLEM).is_null())
    known = contents.known(there, settled=True)[SHA256] if trusted else pl.Series([None] * len(there), dtype=pl.String)
    there = there.with_columns(known.alias(CONTENT_HASH))
    missing = there.filter(features.statuses(there[CONTENT_HASH]).is_null())
    missing = missing.unique(LOCATION, keep="first", maintain_order=True)
    again = pl.col(CONTENT_HASH).is_first_distinct() | pl.col(CONTENT_HASH).is_null()
    return missing.filter(again)


def _share(pictures: pl.DataFrame, shard: tuple[int, int]) -> pl.DataFrame:
    """A shard's own pictures."""
    owners = [zlib.crc32(name.encode()) % shard[1] for name in pictures[IMAGE_PATH]]
    return pictures.filter(pl.Series(owners, dtype=pl.Int64) == shard[0])


def extract_pictures(job: Job, specs: Sequence[EncoderSpec], items: pl.DataFrame, shard: tuple[int, int]) -> Extraction:
    """Read what is new and this shard's, and encode what is new of it, by one of the encoders."""
    require_image_path(job.catalogue, job.name, items)
    pictures, contents = job.catalogue.pictures(), ContentStore(job.run.store.contents)
    listing = pinned_listing(job.run) if job.pinned else None
    listing = list_pictures(pictures, items[IMAGE_PATH]) if listing is None else listing
    spec = job.fitting(specs, contents.known(listing)[SHA256])
    features = job.features(spec)
    wanted = _lacking(listing, contents, features, trusted=job.catalogue.settings.trust == "version")
    mine = _share(wanted, shard)
    done: _Pass | None = None
    if len(mine):
        at_hand = pinned_pictures(job.run, pictures) if job.pinned else {}
        done = _Pass(job, spec.load(), contents, features, features.digests())
        done.run([at_hand.get(name) or UnreadPicture(pictures, name) for name in mine[IMAGE_PATH]])
    hashes = contents.known(listing)[SHA256]
    named = items.select(ITEM_ID, pl.col(IMAGE_PATH).cast(pl.String).replace("", None))
    found = named.join(listing.with_columns(hashes), on=IMAGE_PATH, how="left", maintain_order="left")
    unreadable = found.filter(features.statuses(found[SHA256]).eq_missing(UNREADABLE))[ITEM_ID]
    distinct, encoded = hashes.drop_nulls().n_unique(), len(done.encoded) if done else 0
    return Extraction(
        encoder=spec.key,
        items=len(items),
        contents=distinct + wanted[CONTENT_HASH].null_count() - mine[CONTENT_HASH].null_count(),
        encoded=encoded,
        cached=distinct - encoded,
        missing=named[IMAGE_PATH].null_count(),
        not_found=found[PROBLEM].count() + (done.gone if done else 0),
        unreadable=len(unreadable),
        unreadable_items=unreadable.head(NAMED).to_list(),
        encoder_calls=done.calls if done else 0,
    )


@dataclass
class _Pass:
    """One reading of some pictures, each encoded where its content is new."""

    job: Job
    encoder: Encoder
    contents: ContentStore
    features: FeatureStore
    known: Digests
    """What was encoded before."""
    encoded: set[str] = field(default_factory=set)
    """What this pass has met that was new."""
    calls: int = 0
    gone: int = 0
    """Pictures that are not there any more."""
    _waiting: list[tuple[str, Any]] = field(default_factory=list)
    _done: list[Encoded] = field(default_factory=list)
    _read: list[PictureRead] = field(default_factory=list)

    def run(self, pictures: Sequence[UnreadPicture]) -> None:
        """Read and encode."""
        job, total, skips = self.job, len(pictures), partial(_has_vector, self.known)
        size, limits = job.modality.batch_size, job.limits
        batches = prepared_batches([pictures], self.encoder, size, total, limits.many_pictures, skips)
        with job.run.reporter.task(f"extract {job.name}", total) as task, written_behind() as write, closing(batches):
            for batch, _ in batches:
                for read, ready in batch:
                    self._take(read, ready)
                task.advance(len(batch))
                self._encode(write, everything=False)
                if len(self._read) >= limits.remembered_at_once:
                    self._remember(write)
            self._remember(write)

    def _take(self, read: PictureRead | None, ready: Any) -> None:
        if read is None:
            self.gone += 1
            return
        failed = isinstance(ready, UnreadableError)
        self._read.append(replace(read, problem=str(ready)) if failed else read)
        if ready is None or read.sha256 in self.encoded or (failed and self.known.holds(read.sha256)):
            return
        self.encoded.add(read.sha256)
        if failed:
            self._done.append(Encoded(read.sha256, None, str(ready)))
        else:
            self._waiting.append((read.sha256, ready))

    def _encode(self, write: Write, *, everything: bool) -> None:
        """Encode whole batches, or all that waits, and write whole parts, or all that is done."""
        size, rows = self.job.modality.batch_size, self.job.part_rows
        while len(self._waiting) >= (1 if everything else size):
            self._done += encode_batch(self.encoder, self._waiting[:size], size)
            del self._waiting[:size]
            self.calls += 1
        while len(self._done) >= (1 if everything else rows):
            write(partial(self.features.write_part, self._done[:rows], self.encoder.dim))
            del self._done[:rows]

    def _remember(self, write: Write) -> None:
        self._encode(write, everything=True)
        write(partial(self.contents.add, self._read))
        self._read = []


def _has_vector(known: Digests, read: PictureRead) -> bool:
    return known.has_vector(read.sha256)
