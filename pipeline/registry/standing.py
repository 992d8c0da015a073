"""What an operator asks and sets without moving the champion: which one stands, its history, hold and free.

None of this needs the registry, so a champion can be held while MLflow does not answer.
"""

import dataclasses
from dataclasses import dataclass

from pipeline.documents import as_document
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.champion import Action, Champion, Event, Hold, find_champion, now, read_champion
from pipeline.storage.files import as_json, swap_bytes
from pipeline.storage.layout import Store


@dataclass(frozen=True, kw_only=True)
class Former:
    """The champion before."""

    run_id: str
    model_version: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The champion for people and scripts, with only the one before it instead of the whole chain."""

    release: str
    """Its folder."""
    run_id: str
    digest: str
    model_name: str
    model_version: str
    metric: str | None
    """What the gate compared."""
    value: float | None
    as_of: str | None
    """The moment the release stands for, ISO 8601."""
    promoted_at: str | None
    reason: str | None
    held: Hold | None
    previous: Former | None


@dataclass(frozen=True, kw_only=True)
class Held:
    """The champion after `hold` or `free`."""

    run_id: str
    model_version: str
    held: Hold | None
    changed: bool


@dataclass(frozen=True, kw_only=True)
class History:
    """What happened to the champion, newest first."""

    events: tuple[Event, ...]


def standing(store: Store, champion: Champion) -> Standing:
    """The record without the history and with one champion before it; its release where the store is now."""
    before = champion.previous
    former = before and Former(run_id=before.run_id, model_version=before.model_version, digest=before.digest)
    own = {field.name: getattr(champion, field.name) for field in dataclasses.fields(Standing)}
    return Standing(**{**own, "previous": former, "release": str(store.release(champion.run_id))})


def show_champion(store: Store) -> Standing:
    """Which release stands, since when and why.

    Raises `InputError` where there is no champion.
    """
    return standing(store, _require(store, read_champion(store)))


def read_history(store: Store) -> History:
    """What happened to the champion; empty where there is none."""
    champion = read_champion(store)
    return History(events=champion.history if champion else ())


def hold(store: Store, reason: str, reporter: Reporter) -> Held:
    """Let no night replace the champion until `free`.

    Raises `InputError` where there is no champion, or no reason.
    """
    if not reason.strip():
        raise InputError("--reason is empty; say why the champion is held; others will read it")
    return _write(store, Hold(reason=reason, since=now()), "held", reason, reporter)


def free(store: Store, reporter: Reporter) -> Held:
    """Let nights replace the champion again; one that is not held is left as it is.

    Raises `InputError` where there is no champion.
    """
    champion = _require(store, read_champion(store))
    if champion.held is None:
        reporter.say(f"champion: release {champion.run_id} is not held")
        return _held(champion, changed=False)
    return _write(store, None, "freed", None, reporter)


def _write(store: Store, held: Hold | None, action: Action, reason: str | None, reporter: Reporter) -> Held:
    while True:
        found = find_champion(store)
        before = _require(store, found.champion)
        champion = dataclasses.replace(before, held=held).after(before, action, reason)
        if swap_bytes(store.champion, found.payload, as_json(as_document(champion))):
            reporter.say(f"champion: release {champion.run_id} is {action}")
            return _held(champion, changed=True)


def _held(champion: Champion, *, changed: bool) -> Held:
    return Held(run_id=champion.run_id, model_version=champion.model_version, held=champion.held, changed=changed)


def _require(store: Store, champion: Champion | None) -> Champion:
    if champion is None:
        raise InputError(f"there is no champion ({store.champion}); promote a version first")
    return champion
