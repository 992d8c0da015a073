"""What is in a store: one listing of its folders, sorted into nights and features."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline import stages
from pipeline.release.increment import published_numbers
from pipeline.storage.files import SUCCESS
from pipeline.storage.layout import Store
from pipeline.storage.listing import Stored, list_stored
from pipeline.storage.use import REMOVING

NEVER = datetime.min.replace(tzinfo=UTC)
CHECKPOINTS = "checkpoints/"
"""Folder of a run's generation."""


@dataclass(frozen=True)
class Files:
    """Files of one thing, by name relative to its folder."""

    stored: dict[str, Stored] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(one.size for one in self.stored.values())

    @property
    def modified(self) -> datetime:
        """The last sign of life in it."""
        return max((one.modified for one in self.stored.values()), default=NEVER)

    def has_done(self, stage: str) -> bool:
        """Whether a stage is committed, in whichever generation."""
        marker = f"{stage}/{SUCCESS}"
        return any(name == marker or name.endswith(f"/{marker}") for name in self.stored)


@dataclass(frozen=True, kw_only=True)
class Night:
    """A run with its release and the increments beside that, under one id; each may be gone."""

    id: str
    run: Files
    release: Files
    increments: Files = field(default_factory=Files)

    @property
    def modified(self) -> datetime:
        """The last sign of life of run and release."""
        return max(self.run.modified, self.release.modified)

    @property
    def size(self) -> int:
        """Bytes of all."""
        return self.run.size + self.release.size + self.increments.size

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do but the promotion."""
        return not self.run.stored or self.run.has_done(stages.REGISTER.name)

    @property
    def is_prepared(self) -> bool:
        """Whether it has read its features."""
        return self.is_finished or self.run.has_done(stages.PREPARE.name)

    @property
    def is_being_removed(self) -> bool:
        """Whether an earlier `gc` has begun to remove it."""
        return REMOVING in self.run.stored

    def outdated_checkpoints(self) -> Files:
        """Checkpoints of trainings that are committed: nobody reads them again."""
        stored = self.run.stored
        return Files(
            {
                name: one
                for name, one in stored.items()
                if CHECKPOINTS in name and f"{name.partition(CHECKPOINTS)[0]}{stages.TRAIN.name}/{SUCCESS}" in stored
            }
        )

    def outdated_increments(self, before: datetime) -> Files:
        """Those that another has replaced before this moment: until then readers may still be at them."""
        stored = self.increments.stored
        numbers = {name: int(first) for name in stored if (first := name.partition("/")[0]).isdecimal()}
        since: dict[int, datetime] = {}
        for name, number in numbers.items():
            since[number] = max(since.get(number, NEVER), stored[name].modified)
        last = max((number for number in published_numbers(list(stored)) if since[number] <= before), default=0)
        return Files({name: one for name, one in stored.items() if name in numbers and numbers[name] < last})


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What is there."""

    nights: dict[str, Night]
    features: dict[tuple[str, str], Files]
    """By modality and encoder key."""


def take_inventory(store: Store) -> Inventory:
    """List the store."""
    folders = (store.runs, store.releases, store.increments)
    runs, releases, increments = (_by_folder(list_stored(folder), 1) for folder in folders)
    nights = {
        name: Night(
            id=name,
            run=Files(runs.get((name,), {})),
            release=Files(releases.get((name,), {})),
            increments=Files(increments.get((name,), {})),
        )
        for name in sorted({name for (name,) in (*runs, *releases, *increments)})
    }
    features = _by_folder(list_stored(store.root / "features"), 2)
    return Inventory(nights=nights, features={(key[0], key[1]): Files(stored) for key, stored in features.items()})


def _by_folder(listed: Mapping[str, Stored], depth: int) -> dict[tuple[str, ...], dict[str, Stored]]:
    """Files by the folders that they are in, as deep as that; attempts and locks beside these are nobody's."""
    found: dict[tuple[str, ...], dict[str, Stored]] = {}
    for name, stored in listed.items():
        parts = name.split("/")
        if len(parts) > depth and not _is_hidden(parts[:depth]):
            found.setdefault(tuple(parts[:depth]), {})["/".join(parts[depth:])] = stored
    return found


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)
