"""`champion.json`: the release that downstream systems should read, and the release that a command means."""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from upath import UPath

from pipeline.documents import as_record
from pipeline.errors import DamagedError, InputError
from pipeline.release.manifest import Manifest, read_manifest
from pipeline.storage.files import SUCCESS, is_complete, parse_json, read_bytes, require_known_scheme, resolve
from pipeline.storage.layout import Store

KEPT_EVENTS = 50
"""Events that `champion.json` remembers."""
MEND = "restore it from a copy, or delete it and promote a version again"
Action = Literal["promoted", "forced", "rolled_back", "held", "freed", "registered"]


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Why no night may replace the champion."""

    reason: str
    since: str
    """ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to the champion."""

    at: str
    """ISO 8601."""
    action: Action
    run_id: str
    """Of the champion after it."""
    model_version: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Champion:
    """`champion.json`: the release that downstream systems should read."""

    release: str = ""
    """Its folder, relative to the store; earlier versions wrote it absolute, so `run_id` is what is read."""
    run_id: str
    digest: str
    model_name: str
    model_version: str
    manifest_sha256: str | None = None
    """Of the release's `manifest.json`; None where an earlier version promoted it."""
    metric: str | None = None
    """What the gate compared; None if it was off or nothing was held out."""
    value: float | None = None
    as_of: str | None = None
    """The moment the release stands for, ISO 8601."""
    promoted_at: str | None = None
    reason: str | None = None
    """Why this one stands; None if no reason was given."""
    held: Hold | None = None
    """While held, only `promote --force` and `rollback` replace it."""
    history: tuple[Event, ...] = ()
    """Newest first."""
    previous: "Champion | None"

    def stands_for_later(self, as_of: datetime | None) -> bool:
        """Whether this release stands for a later moment."""
        return bool(as_of and self.as_of and datetime.fromisoformat(self.as_of) > as_of)

    def cut(self, depth: int) -> "Champion | None":
        """The chain of champions before another: without hold and history, its tail left out beyond `depth`."""
        if depth == 0:
            return None
        previous = self.previous and self.previous.cut(depth - 1)
        return dataclasses.replace(self, held=None, history=(), previous=previous)

    def after(self, before: "Champion | None", action: Action, reason: str | None) -> "Champion":
        """This record with one more event in the history of the one `before` it."""
        event = Event(
            at=now(), action=action, run_id=self.run_id, model_version=self.model_version, reason=reason or None
        )
        history = (event, *(before.history if before else ()))
        return dataclasses.replace(self, history=history[:KEPT_EVENTS])


def now() -> str:
    """This moment as records have it."""
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class Found:
    """The champion, and the bytes that say so, for the swap."""

    champion: Champion | None
    payload: bytes | None


def read_champion(store: Store) -> Champion | None:
    """The record that downstream systems read; None while there is no champion.

    Raises `StoreError` for a file that is damaged.
    """
    return find_champion(store).champion


def find_champion(store: Store) -> Found:
    """The same, for a caller that means to replace it."""
    try:
        payload = read_bytes(store.champion)
    except FileNotFoundError:
        return Found(None, None)
    document = parse_json(store.champion, payload, MEND)
    known = set(document) if isinstance(document, dict) else set()
    missing = {"run_id", "digest", "model_name", "model_version", "previous"} - known
    if missing:
        raise DamagedError(f"{store.champion} lacks {sorted(missing)}; {MEND}")
    return Found(as_record(Champion, document, store.champion), payload)


def champion_manifest(store: Store, champion: Champion) -> Manifest:
    """The manifest of a champion's release.

    Raises `StoreError` where there is none, or it is not the one that was promoted.
    """
    return read_manifest(store.release(champion.run_id), champion.manifest_sha256)


def choose_release(store: Store, name: str | None) -> UPath:
    """The release of that run id or at that place, or without a name the champion's, or else the only one there is.

    Raises `InputError` where that does not name one, `StoreError` where the champion's is not the one promoted.
    """
    if name and "/" in name:
        require_known_scheme(name, "--release")
        release = resolve(name.rstrip("/"), Path.cwd())
        if not is_complete(release):
            raise InputError(f"no release at {release}: a release has a {SUCCESS} file")
        return release
    if name:
        release = store.release(name)
        if not is_complete(release):
            raise InputError(f"no release {name!r} in {store.releases}; there are {_release_names(store)}")
        return release
    champion = read_champion(store)
    if champion:
        if champion.manifest_sha256:
            champion_manifest(store, champion)
        return store.release(champion.run_id)
    names = _release_names(store)
    if len(names) == 1:
        return store.release(names[0])
    raise InputError(f"name a release with --release: there is no champion, and {store.releases} holds {names}")


def _release_names(store: Store) -> list[str]:
    if not store.releases.exists():
        return []
    return sorted(path.name for path in store.releases.iterdir() if not path.name.startswith(".") and is_complete(path))
