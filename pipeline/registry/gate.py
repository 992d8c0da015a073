"""The quality gate's settings, and whether a verdict that was recorded still counts; `judge` comes to one."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.documents import as_document
from pipeline.errors import GateRefusedError
from pipeline.registry.champion import Champion
from pipeline.release.verdict import PASSED, REFUSED, Verdict
from pipeline.storage.files import is_complete
from pipeline.storage.layout import Store

NO_GATE = "none"
METRIC = re.compile(r"(recall|precision|ndcg|hit|map)@(10|20)")
LONGEST_TAG = 1000
"""Characters; MLflow keeps more, and its page shows fewer."""
Baseline = Literal["popularity", "item-knn"]


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """When a release may become champion."""

    metric: str = "recall@20"
    """Metric compared with the champion's on the same held-out interactions; "none" switches the gate off."""
    max_regression: float = 0.02
    """Allowed loss relative to the champion. Refused if the whole confidence interval lies beyond it."""
    confidence: float = 0.95
    """Confidence of the two-sided intervals."""
    previous_champions: int = 5
    """Number of earlier champions that are compared as well, so that quality cannot slide."""
    baselines: tuple[Baseline, ...] = ("popularity", "item-knn")
    """Refused if the model is significantly worse than one of these."""
    max_users: int = 20_000
    """Most users compared; they are drawn by a hash of their ids."""

    def __post_init__(self) -> None:
        if self.metric.startswith("coverage@"):
            raise ValueError(
                f"gate.metric is {self.metric!r}, which is not a figure of single users, so it has no confidence "
                "interval; the gate looks at coverage in any case, so choose a metric such as 'recall@20'"
            )
        if self.metric != NO_GATE and not METRIC.fullmatch(self.metric):
            raise ValueError(f"gate.metric is {self.metric!r}; it is 'none', or a metric such as 'recall@20'")
        if not 0 <= self.max_regression <= 1:
            raise ValueError(f"gate.max_regression is {self.max_regression}; it is a share between 0 and 1")
        if not 0 < self.confidence < 1:
            raise ValueError(f"gate.confidence is {self.confidence}; it is a share between 0 and 1, such as 0.95")
        for name, least in (("previous_champions", 0), ("max_users", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"gate.{name} is {getattr(self, name)}; it is at least {least}")

    def as_record(self) -> dict[str, Any]:
        """The settings as JSON, for the record of a verdict."""
        return {**as_document(self), "baselines": list(self.baselines)}


def previous_champions(store: Store, gate: GateConfig, champion: Champion) -> list[Champion]:
    """The champions before this one whose releases are still there, the latest first, each run once."""
    found: list[Champion] = []
    before = champion.previous
    while before and len(found) < gate.previous_champions:
        known = before.run_id in (champion.run_id, *(one.run_id for one in found))
        if not known and is_complete(store.release(before.run_id)):
            found.append(before)
        before = before.previous
    return found


def still_counts(
    verdict: Verdict | None, store: Store, gate: GateConfig, run_id: str, champion: Champion | None
) -> bool:
    """Whether a recorded verdict is on this run, against the champions that stand now, by these settings."""
    if verdict is None or verdict.verdict not in (PASSED, REFUSED):
        return False
    previous = [one.run_id for one in previous_champions(store, gate, champion)] if champion else []
    now = (champion.run_id, champion.digest, previous) if champion else (None, None, [])
    then = (verdict.champion, verdict.champion_digest, verdict.previous)
    return (verdict.run_id, then, verdict.gate) == (run_id, now, gate.as_record())


def not_judged(
    verdict: Literal["superseded", "off"], gate: GateConfig, run_id: str, champion: Champion | None
) -> Verdict:
    """The verdict where nothing is computed."""
    return Verdict(
        run_id=run_id,
        verdict=verdict,
        champion=champion.run_id if champion else None,
        champion_digest=champion.digest if champion else None,
        metric=gate.metric,
        gate=gate.as_record(),
    )


def require_passed(verdict: Verdict) -> None:
    """Raise `GateRefusedError` with the reasons where the gate refused."""
    if verdict.verdict == REFUSED:
        raise GateRefusedError(f"release {verdict.run_id} is {verdict.headline}: " + " | ".join(verdict.reasons))


def tags_of(verdict: Verdict) -> dict[str, str]:
    """The verdict as tags of a version in MLflow."""
    figures = "; ".join(f"{row.name} {row.shown_figure}" for row in verdict.rows if row.figure is not None)
    tags = {
        "microrec.gate": verdict.headline,
        "microrec.gate_reasons": " | ".join(verdict.reasons),
        "microrec.gate_figures": figures,
    }
    return {name: text[:LONGEST_TAG] for name, text in tags.items() if text}
