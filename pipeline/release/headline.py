"""How good a release is, in plain words: the first thing in its report."""

from dataclasses import dataclass

from pipeline.dataset.records import POPULARITY, BesideChampion, Evaluation, Figure
from pipeline.release.tables import FOUND

BY_TIME = "time"
"""The split of which it can be said that a purchase came later."""
AMONG = "among 20 suggestions"


@dataclass(frozen=True, kw_only=True)
class Headline:
    """Two sentences at most, and what they rest on."""

    sentence: str
    beside_champion: str = ""
    note: str = ""


def headline(metrics: Evaluation, strategy: str) -> Headline:
    """From `hit@20` on test, of this release and of popularity on the same users."""
    test, popularity = metrics.test or {}, metrics.popularity or {}
    if FOUND not in test:
        return Headline(sentence="Nothing was held out, so it is not known what shoppers find.")
    something = "something they later bought" if strategy == BY_TIME else "something they bought"
    others = f"; with bestsellers {of_100(popularity[FOUND])}" if FOUND in popularity else ""
    return Headline(
        sentence=f"Of 100 shoppers, {of_100(test[FOUND])} find {something} {AMONG}{others}.",
        beside_champion=_beside(metrics.beside_champion),
        note=_note(metrics, strategy),
    )


def of_100(share: float) -> str:
    """A share of users as so many of a hundred."""
    if 0 < share < 0.005:
        return "fewer than one"
    return "none" if share == 0 else f"{100 * share:.0f}"


def _note(metrics: Evaluation, strategy: str) -> str:
    users = (metrics.test or {}).get("users")
    counted = f"Counted on {users:,.0f} shoppers. " if users else ""
    told = (
        "Their latest purchases were kept from training."
        if strategy == BY_TIME
        else f"Some of their purchases were kept from training (split “{strategy}”), so this is no forecast of sales."
    )
    return f"{counted}{told} {_intervals(metrics)}".strip()


def _intervals(metrics: Evaluation) -> str:
    whole = next((group for group in metrics.groups if group.of == "all"), None)
    if whole is None:
        return ""
    own, others = (whole.found.get(name, {}).get(FOUND) for name in ("model", POPULARITY))
    told = [f"{name} {_range(one)}" for name, one in (("this release", own), ("bestsellers", others)) if one]
    return f"95 % intervals: {', '.join(told)}." if all(told) and told else ""


def _range(figure: Figure) -> str:
    if figure.interval is None:
        return f"{100 * figure.value:.0f} (too few shoppers for an interval)"
    low, high = figure.interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _beside(beside: BesideChampion | None) -> str:
    if beside is None or FOUND not in beside.model:
        return ""
    own, before, gap = beside.model[FOUND], beside.champion[FOUND], beside.difference[FOUND]
    now, then = (f"{100 * one.value:.1f}" for one in (own, before))
    told = f"Of the same {own.users:,} shoppers, the champion serves {then} of 100 and this release {now}"
    if gap.interval is None:
        return f"{told}: too few shoppers to tell them apart."
    if gap.interval[0] > 0:
        return f"{told}: better, by more than chance."
    return f"{told}: {'worse, by more than chance' if gap.interval[1] < 0 else 'a difference that may be chance'}."
