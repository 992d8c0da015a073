"""`microrec increment`: vectors of items that are new since the champion's release, published beside it.

Nothing is locked. An increment is bound to one release and has a number that one attempt can take. An attempt that
finds the number taken, or another champion, starts over (docs/decisions/0043-increments.md).
"""

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogue.cleaning import clean_items
from pipeline.columns import IMAGE_PATH, ITEM_ID
from pipeline.config.config import Config
from pipeline.dataset.features import ModalityFeatures
from pipeline.errors import InputError, MicrorecError, NotExtractedError
from pipeline.progress import Reporter
from pipeline.registry.champion import Champion, champion_manifest, read_champion
from pipeline.release.format import ITEM_EMBEDDINGS
from pipeline.release.increment import Increment, Published, last_number, newest_sound, publish_increment
from pipeline.release.signature import read_public_keys, read_signing_key
from pipeline.release.sound import sound_table
from pipeline.serving.content_model import ContentModel
from pipeline.stages.extract import extract_features
from pipeline.storage.layout import Store
from pipeline.storage.use import enter

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMED = 20
"""Items without content that are named in the answer."""


@dataclass(frozen=True, kw_only=True)
class Incremented:
    """What stands beside the champion's release now."""

    run_id: str
    """Of the release."""
    release: str
    digest: str
    """Of the release."""
    increment: str | None
    """Folder of the increment that counts; None: nothing is new, so there is none."""
    number: int | None
    changed: bool
    """Whether it was published now."""
    items: int = 0
    added: int = 0
    """Items that the increment before did not have."""
    removed: int = 0
    """Items that it had, and that have left the catalogue since, or lost their content."""
    left_out: int = 0
    """New items without content."""
    left_out_items: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class New:
    """The items of the catalogue that a release has no vector for."""

    items: pl.DataFrame
    features: dict[str, ModalityFeatures]
    """By modality; empty where no item is new."""

    @property
    def contents(self) -> dict[str, str]:
        """What they are, as `Increment.contents` has it."""
        return {name: one.digest for name, one in self.features.items()}

    @property
    def has_content(self) -> np.ndarray:
        """Which of them can be embedded, bool (Q,)."""
        present = [one.present for one in self.features.values()]
        return np.any(present, axis=0) if present else np.zeros(len(self.items), dtype=bool)

    def embeddable(self) -> "New":
        """Those that can be embedded."""
        kept_Q = self.has_content
        return New(
            self.items.filter(pl.Series(kept_Q)),
            {
                name: dataclasses.replace(one, matrix=one.matrix[kept_Q], present=one.present[kept_Q])
                for name, one in self.features.items()
            },
        )


def add_increment(config: Config, reporter: Reporter) -> Incremented:
    """Publish vectors of the items that the champion's release lacks, unless the same stand beside it already.

    Their features go into the feature store, where the next night finds them. If the last increment is damaged, one is
    published in any case; so it is if there is a signing key and the last is signed by neither it nor a trusted one.

    Raises:
        InputError: there is no champion, or its model cannot say anything of new items (`ContentModel.of`).
        StoreError: its release is not the one that was promoted.
        MicrorecError: the catalogue changed while it was read.
    """
    store = config.open_store()
    while True:
        champion = read_champion(store)
        if champion is None:
            raise InputError(f"there is no champion ({store.champion}); promote a version first")
        attempt = _Attempt(config, store, champion, reporter)
        done = attempt.run()
        if done is not None:
            return done


@dataclass(frozen=True)
class _Attempt:
    """The work for the champion of one moment."""

    config: Config
    store: Store
    champion: Champion
    reporter: Reporter

    def run(self) -> Incremented | None:
        """What stands now; None where the champion moved, or another attempt was faster."""
        manifest = champion_manifest(self.store, self.champion)
        model = ContentModel.of(self.config, self.store, manifest, self.reporter)
        increments = self.store.increments_of(self.champion.run_id)
        number = last_number(increments) + 1  # first of all, so that a later publication takes it
        key = self._key()
        trusted = [*read_public_keys(self.config.public_keys), key.public_key()] if key else []
        before, damaged = newest_sound(increments, manifest.release_digest, trusted)
        for problem in damaged:
            self.reporter.say(f"increment: {problem}; it is published anew")
        known = sound_table(self.store.release(self.champion.run_id), ITEM_EMBEDDINGS)
        new = self._new_items(model, known)
        if not damaged and (before.increment.contents if before else {}) == new.contents:
            return self._told(before, new, changed=False)
        table = self._table(model, new.embeddable(), known.schema)
        if not damaged and before is None and not table.num_rows:
            return self._told(None, new, changed=False)
        if not self._still_champion():
            self.reporter.say(f"increment: {self.champion.run_id} is no longer the champion; starting over")
            return None
        record = self._record(number, new, table)
        published = publish_increment(increments, record, table, key)
        if published is None:
            self.reporter.say("increment: another one came first; looking again")
            return None
        return self._told(published, new, changed=True, before=before)

    def _new_items(self, model: ContentModel, known: pa.Table) -> New:
        """Read the catalogue and encode what is new of it, if anything is."""
        items = clean_items(model.run.config.open_catalogue(), [IMAGE_PATH])
        _require_same_ids(items, known, self.champion.run_id)
        ids = pl.Series(ITEM_ID, known.column(ITEM_ID)).to_frame()
        new = items.join(ids, on=ITEM_ID, how="anti", maintain_order="left")
        if new.is_empty():
            return New(new, {})
        enter(self.store, self.champion.run_id, self.reporter)  # `gc` keeps the features that are about to be read
        extract_features(model.run, items=new)
        try:
            return New(new, model.features(new))
        except NotExtractedError as error:
            raise MicrorecError(f"the catalogue changed while it was read ({error}); do it again") from error

    def _table(self, model: ContentModel, new: New, schema: pa.Schema) -> pa.Table:
        plain = schema.remove_metadata()
        return model.table(new.items, new.features).cast(plain) if len(new.items) else plain.empty_table()

    def _still_champion(self) -> bool:
        now = read_champion(self.store)
        return now is not None and (now.run_id, now.digest) == (self.champion.run_id, self.champion.digest)

    def _key(self) -> "Ed25519PrivateKey | None":
        file = self.config.signing_key
        return read_signing_key(file) if file else None

    def _record(self, number: int, new: New, table: pa.Table) -> Increment:
        return Increment(
            number=number,
            run_id=self.champion.run_id,
            release_digest=self.champion.digest,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            microrec_version=version("microrec"),
            items=table.num_rows,
            left_out=len(new.items) - table.num_rows,
            contents=new.contents,
            table_digest="",
        )

    def _told(self, now: Published | None, new: New, *, changed: bool, before: Published | None = None) -> Incremented:
        without = new.items.filter(pl.Series(~new.has_content))[ITEM_ID]
        count, left_out = (now.increment.items if now else 0), len(without)
        gone = f", {left_out} new ones have no content" if left_out else ""
        what = f"{count} new items" + (" are published" if changed else ", as before")
        self.reporter.say(f"increment beside release {self.champion.run_id}: {what}{gone}")
        return Incremented(
            run_id=self.champion.run_id,
            release=str(self.store.release(self.champion.run_id)),
            digest=self.champion.digest,
            increment=str(now.folder) if now else None,
            number=now.increment.number if now else None,
            changed=changed,
            items=count,
            added=_lacking(now, before) if changed else 0,
            removed=_lacking(before, now) if changed else 0,
            left_out=left_out,
            left_out_items=without.head(NAMED).to_list(),
        )


def _lacking(there: Published | None, other: Published | None) -> int:
    """Items of one increment that the other does not have."""
    if there is None:
        return 0
    if other is None:
        return there.increment.items
    known = pc.is_in(there.table.column(ITEM_ID), value_set=other.table.column(ITEM_ID).combine_chunks())
    return int(pc.sum(pc.invert(known)).as_py() or 0)


def _require_same_ids(items: pl.DataFrame, known: pa.Table, run_id: str) -> None:
    """Raise `InputError` where the catalogue's ids are of another type than the release's: all would seem new."""
    now, then = items.schema[ITEM_ID], pl.Series(known.column(ITEM_ID).slice(0, 1)).dtype
    if (now == pl.String) != (then == pl.String):
        raise InputError(
            f"the catalogue's {ITEM_ID} is {now}, that of release {run_id} is {then}; write it as it was, or wait for "
            "the next night's release, which begins a line of its own"
        )
