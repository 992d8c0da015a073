"""What the tables in PostgreSQL hold, what they are to hold, and which rows lead from one to the other."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upath import UPath

from pipeline.catalogue.catalogue import Catalogue
from pipeline.errors import DamagedError, InputError
from pipeline.release.format import ITEM_EMBEDDINGS
from pipeline.release.increment import Published, find_increment, read_increment
from pipeline.release.manifest import Manifest, read_manifest
from pipeline.release.signature import require_signed
from pipeline.serving.pgvector_rows import Rows, rows_of_delta, rows_of_release, rows_of_step
from pipeline.storage.layout import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Reader = Callable[[str, Catalogue | None, tuple[str, ...]], Rows | None]
"""From a table's name, the catalogue and its columns to the rows that lead to the target; None if none differ."""


@dataclass(frozen=True)
class State:
    """The row of `vectors_release`, except its moment."""

    run_id: str
    digest: str
    columns: str
    number: int | None
    """Number of the increment."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A release with the increment that stands beside it now."""

    store: Store
    release: UPath
    manifest: Manifest
    increment: Published | None
    state: State
    keys: "Sequence[Ed25519PublicKey]"
    """Of which one's owner must have signed what is read; none: it need not be signed."""

    @classmethod
    def of(
        cls, store: Store, release: UPath, columns: tuple[str, ...], keys: "Sequence[Ed25519PublicKey]" = ()
    ) -> "Target":
        """Read them; raises `StoreError` if one is damaged, or not signed by the owner of one of the keys."""
        manifest = read_manifest(release, require_signed(release, keys) if keys else None)
        increment = find_increment(store.increments_of(release.name), manifest.release_digest, keys)
        number = increment.increment.number if increment else None
        state = State(release.name, manifest.release_digest, ",".join(columns), number)
        return cls(store=store, release=release, manifest=manifest, increment=increment, state=state, keys=keys)

    def expected(self, source: str) -> int:
        """Rows that a table is to have."""
        added = self.increment.increment.items if self.increment and source == ITEM_EMBEDDINGS else 0
        return self.manifest.counts[source] + added

    def reader(self, there: State | None, num_items: Callable[[], int], *, delta: bool) -> Reader:
        """The way from what stands there to this.

        Args: num_items: counts the items that stand there.

        Raises `InputError` where a delta was asked for and does not lead here.
        """
        if there and dataclasses.replace(there, number=self.state.number) == self.state:
            return self._step(there, num_items) or self._whole
        if not delta:
            return self._whole
        whole = f"load it whole: `microrec to-pgvector --release {self.release.name}`, without --delta"
        base = self._require_base(there, whole)
        try:
            before = self._increment_of(base)
        except DamagedError as error:
            raise InputError(f"the tables hold an increment that cannot be read any more ({error}); {whole}") from error
        return lambda name, *given: rows_of_delta(self.release, name, before, self.increment, *given)

    def _whole(self, name: str, catalogue: Catalogue | None, columns: tuple[str, ...]) -> Rows:
        return rows_of_release(self.release, name, self.increment, catalogue, columns)

    def _step(self, there: State, num_items: Callable[[], int]) -> Reader | None:
        """From another increment of the same release; None where that is gone, or somebody has changed the table."""
        try:
            before = self._increment_of(there)
        except DamagedError:
            return None
        expected = self.manifest.counts[ITEM_EMBEDDINGS] + (before.increment.items if before else 0)
        if num_items() != expected:
            return None
        return lambda name, *given: rows_of_step(name, before, self.increment, *given)

    def _increment_of(self, there: State) -> Published | None:
        """The increment whose rows stand there, with its table."""
        if there.number is None:
            return None
        found = read_increment(self.store.increments_of(there.run_id), there.number, self.keys)
        return found if found.table.num_rows else None

    def _require_base(self, there: State | None, whole: str) -> State:
        """Raise `InputError` where a delta does not lead from what stands in the tables to the release."""
        base = self.manifest.space.champion_digest if self.manifest.space else None
        if base is None:
            raise InputError(f"release {self.release.name} has no delta: it begins a line; {whole}")
        if there is None or there.digest != base:
            stands = "no release" if there is None else f"the release with digest {there.digest}"
            raise InputError(f"the delta of {self.release.name} begins at {base}, the tables hold {stands}; {whole}")
        if there.columns != self.state.columns:
            then, now = there.columns, self.state.columns
            raise InputError(f"pgvector.columns was {then!r} when the tables were loaded, is {now!r}; {whole}")
        return there
