"""The rows of the checks: each compares one count of today's input with the champion's."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from pipeline.columns import TIMESTAMP
from pipeline.dataset.records import InputCounts, Moment
from pipeline.registry.checks import ACCEPTED, NOT_COMPARED, OK, REFUSED, Check, ChecksConfig, Verdict

SIZES = ("items", "users", "interactions")
ABSENT = "–"
NOT_RECORDED = "the champion's version did not record it"
NEW = "the champion was made without it"
GONE = "no longer configured"


def floors(settings: ChecksConfig, now: InputCounts) -> Iterator[Check]:
    """A row for each floor that is set."""
    for name in SIZES:
        lowest, count = getattr(settings, f"min_{name}"), getattr(now, name)
        if lowest:
            yield Check(
                name=f"{name}, floor",
                then=ABSENT,
                now=_shown(count),
                allowed=f"at least {lowest:,}",
                verdict=OK if count >= lowest else REFUSED,
                margin=(count - lowest) / lowest,
                floor=True,
            )


def compare(
    settings: ChecksConfig, now: InputCounts, then: InputCounts, *, accept_change: bool = False
) -> Iterator[Check]:
    """Every comparison with the champion's input.

    A night on a smaller share of the users has fewer of them, and fewer interactions: these are not compared.
    """
    trial = f"a trial on {now.user_share:.0%} of the users" if now.user_share < then.user_share else ""
    unlike: Verdict = ACCEPTED if accept_change else REFUSED
    yield from _sizes(settings, now, then, trial, unlike)
    yield from _contents(settings, now, then, unlike)
    yield from _dropped(settings, now, then, trial, unlike)
    yield from _items_columns(now.item_values or {}, then.item_values, unlike)
    yield from _interactions_columns(now.interaction_values or {}, then.interaction_values, unlike)
    yield from _ends(now, then, unlike)


def _sizes(settings: ChecksConfig, now: InputCounts, then: InputCounts, trial: str, unlike: Verdict) -> Iterator[Check]:
    for name in SIZES:
        before, count = getattr(then, name), getattr(now, name)
        if before is None or (trial and name != "items"):
            yield _not_compared(name, _shown(before), _shown(count), trial if before is not None else NOT_RECORDED)
            continue
        own = getattr(settings.max_falls, name)
        fall = settings.max_fall if own is None else own
        lowest = math.ceil(round(before * (1 - fall), 6))  # 10 items less 10 % are 9, not 9.000000000000002
        margin = (count - lowest) / before if before else None
        verdict = OK if count >= lowest else unlike
        yield _row(name, _shown(before), _shown(count), f"at least {lowest:,}", verdict, margin)


def _contents(settings: ChecksConfig, now: InputCounts, then: InputCounts, unlike: Verdict) -> Iterator[Check]:
    """Shares of items with usable content; a modality that went empty is refused however small its share was."""
    for name in sorted({*now.usable, *then.usable}):
        label, share, before = f"{name}, usable", _share(now, name), _share(then, name)
        if share is None or before is None:
            yield _not_compared(label, _percent(before), _percent(share), GONE if share is None else NEW)
            continue
        lowest = max(before - settings.max_content_fall, 0.0)
        emptied = share == 0 < before
        fine = share >= lowest - 1e-9 and not emptied
        allowed = f"at least {_percent(lowest)}" if lowest else "more than none"
        margin = share - (before if emptied else lowest)
        yield _row(label, _percent(before), _percent(share), allowed, OK if fine else unlike, margin)


def _dropped(
    settings: ChecksConfig, now: InputCounts, then: InputCounts, trial: str, unlike: Verdict
) -> Iterator[Check]:
    label, share, before = "interactions dropped", now.dropped, then.dropped
    if share is None or before is None or trial:
        yield _not_compared(label, _percent(before), _percent(share), trial or NOT_RECORDED)
        return
    highest = min(before + settings.max_dropped_rise, 1.0)
    verdict = OK if share <= highest + 1e-9 else unlike
    yield _row(label, _percent(before), _percent(share), f"at most {_percent(highest)}", verdict, highest - share)


def _items_columns(now: Mapping[str, int], then: Mapping[str, int] | None, unlike: Verdict) -> Iterator[Check]:
    """Values of the columns that contents are made of: which these are is configured, and may change."""
    for name in sorted({*now, *(then or {})}):
        yield _column(f"items, {name}", now.get(name), then, name, unlike)


def _interactions_columns(now: Mapping[str, int], then: Mapping[str, int] | None, unlike: Verdict) -> Iterator[Check]:
    """Values of rating, weight and the like, which no configuration names: one that is gone is empty."""
    for name in sorted({*now, *(then or {})}):
        yield _column(f"interactions, {name}", now.get(name, 0), then, name, unlike)


def _column(label: str, count: int | None, then: Mapping[str, int] | None, name: str, unlike: Verdict) -> Check:
    before = None if then is None else then.get(name)
    if count is None or before is None:
        why = NOT_RECORDED if then is None else NEW if before is None else GONE
        return _not_compared(label, _shown(before), _shown(count), why)
    allowed = "more than none" if before else "any"
    return _row(label, _shown(before), _shown(count), allowed, OK if count or not before else unlike)


def _ends(now: InputCounts, then: InputCounts, unlike: Verdict) -> Iterator[Check]:
    """The latest timestamp, which never goes back."""
    label, last, before = f"last {TIMESTAMP}", now.last_timestamp, then.last_timestamp
    if last is None and before is None:
        return
    shown, shown_before = (ABSENT if one is None else str(one) for one in (last, before))
    if before is None:
        why = NOT_RECORDED if then.interaction_values is None else NEW
        yield _not_compared(label, shown_before, shown, why)
    elif last is not None and isinstance(last, str) != isinstance(before, str):
        yield _not_compared(label, shown_before, shown, "moments on one side, numbers on the other")
    else:
        fine = last is not None and _moment(last) >= _moment(before)
        yield _row(label, shown_before, shown, "not earlier", OK if fine else unlike)


def _moment(value: Moment) -> float:
    """A number that grows with time; moments without a zone are in UTC."""
    if not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _share(counts: InputCounts, modality: str) -> float | None:
    usable = counts.usable.get(modality)
    return None if usable is None or not counts.items else usable / counts.items


def _shown(count: int | None) -> str:
    return ABSENT if count is None else f"{count:,}"


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{share:.2%}"


def _row(name: str, then: str, now: str, allowed: str, verdict: Verdict, margin: float | None = None) -> Check:
    return Check(name=name, then=then, now=now, allowed=allowed, verdict=verdict, margin=margin)


def _not_compared(name: str, then: str, now: str, why: str) -> Check:
    return Check(name=name, then=then, now=now, allowed=ABSENT, verdict=NOT_COMPARED, note=why)
