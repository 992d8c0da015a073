"""Removing, while other commands run: each thing is checked once more right before it goes.

A night goes as its registered versions, increments, release and then run, so that what is cut short is found again.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import StoreError
from pipeline.progress import Reporter
from pipeline.registry.disposal import Registered, aliases, remove_version
from pipeline.registry.tracking import Tracking
from pipeline.release.increment import newest_sound
from pipeline.release.manifest import MANIFEST, manifest_of
from pipeline.storage.files import is_local, local_path
from pipeline.storage.layout import Store
from pipeline.storage.listing import Stored, list_stored, remove_file, remove_folder
from pipeline.storage.use import CLAIM_SECONDS, OPENED, claim, withdraw
from pipeline.upkeep.inventory import Files, Inventory, Night
from pipeline.upkeep.needed import champions
from pipeline.upkeep.unused import Unused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True)
class Sweep:
    """One call of `gc --apply`."""

    store: Store
    tracking: Tracking
    reporter: Reporter
    inventory: Inventory
    keys: "Sequence[Ed25519PublicKey]"
    """Of which one's owner must have signed an increment that readers take; none: it need not be signed."""
    notes: list[str] = field(default_factory=list)
    """Why something stayed all the same."""

    def remove_night(self, night: Night, versions: list[Registered]) -> bool:
        """Remove a night with its versions; False where somebody has come to need it."""
        claimed = claim(self.store.run(night.id))
        reason = self._came_to_need(night, versions)
        if reason:
            withdraw(claimed)
            return self._leave(f"{night.id} stays: {reason} meanwhile")
        for version in versions:
            remove_version(self.tracking, version)
        remove_folder(self.store.increments_of(night.id))
        remove_folder(self.store.release(night.id))
        remove_folder(self.store.run(night.id))
        self.reporter.say(f"gc: removed {night.id}")
        return True

    def _came_to_need(self, night: Night, versions: list[Registered]) -> str | None:
        if night.run.stored.get(OPENED) != list_stored(self.store.run(night.id)).get(OPENED):
            return "it was opened"
        if night.id in champions(self.store):
            return "it was promoted"
        named = aliases(self.tracking)
        return "an alias was set to it" if any((one.model_name, one.version) in named for one in versions) else None

    def remove_checkpoints(self, night: Night, outdated: Files) -> bool:
        """Remove the checkpoints of a training that is done."""
        for name in outdated.stored:
            remove_file(self.store.run(night.id) / name)
        self.reporter.say(f"gc: removed the checkpoints of {night.id}")
        return True

    def must_leave_increments(self, night: Night) -> bool:
        """Whether a later increment of a night is damaged or unsigned: readers take one before it, so all stay."""
        if MANIFEST not in night.release.stored:
            return False
        digest = manifest_of(self.store.release(night.id)).release_digest
        damaged = newest_sound(self.store.increments_of(night.id), digest, self.keys)[1]
        if damaged:
            self._leave(f"increments of {night.id} stay: {damaged[0]}")
        return bool(damaged)

    def remove_increments(self, night: Night, outdated: Files) -> bool:
        """Remove increments that no longer count, the marker of each first."""
        folders = {name.partition("/")[0] for name in outdated.stored}
        for name in sorted(folders, key=int):
            remove_folder(self.store.increments_of(night.id) / name)
        self.reporter.say(f"gc: removed {len(folders)} earlier increments of {night.id}")
        return True

    def remove_features(self, unused: Unused) -> bool:
        """Remove parts that nobody refers to; runs that are opened meanwhile wait. False where one was opened before.

        Raises `StoreError` where the store is so slow that runs no longer wait.
        """
        start, claimed = time.monotonic(), claim(self.store.root / "features")
        folder = self.store.features(*unused.key)
        try:
            if self._opened_since():
                return self._leave("features stay: a run was opened meanwhile")
            for name in unused.parts.stored:
                if time.monotonic() - start > CLAIM_SECONDS / 2:
                    raise StoreError(f"{folder} takes too long to remove; call `microrec gc --apply` again")
                remove_file(folder / name)
            if unused.whole and is_local(folder):
                with suppress(OSError):  # another encoder run has just begun to fill it
                    local_path(folder / ".lock").unlink(missing_ok=True)
                    local_path(folder).rmdir()
        finally:
            withdraw(claimed)
        self.reporter.say(f"gc: removed features of {'/'.join(unused.key)}")
        return True

    def _opened_since(self) -> bool:
        now = _signs(list_stored(self.store.runs))
        nights = self.inventory.nights.values()
        then = _signs({f"{night.id}/{name}": one for night in nights for name, one in night.run.stored.items()})
        return any(then.get(name) != sign for name, sign in now.items())

    def _leave(self, note: str) -> bool:
        self.notes.append(note)
        self.reporter.say(f"gc: {note}")
        return False


def _signs(listed: dict[str, Stored]) -> dict[str, Stored]:
    return {name: one for name, one in listed.items() if name.endswith(f"/{OPENED}") and name.count("/") == 1}
