"""The gate's verdict: a candidate's vectors against the champions', on the same held-out interactions.

No recorded figure of a run is used: all are computed from vectors and interactions.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from model.evaluation import Pairs
from pipeline.errors import DamagedError, StoreError
from pipeline.registry.champion import Champion
from pipeline.registry.gate import GateConfig, previous_champions
from pipeline.registry.judging.contender import Contender, released
from pipeline.registry.judging.ground import Ground, Measured, graded, ground_of, held_out_users, measure
from pipeline.registry.judging.soundness import finite_row, norm_row, zero_row
from pipeline.registry.judging.statistics import FEWEST_USERS, POWER, Estimate, detectable_fall, relative_difference
from pipeline.registry.judging.yardsticks import baseline_row, new_items_row, own_ground
from pipeline.release.verdict import NOT_JUDGED, PASSED, REFUSED, Row, Verdict
from pipeline.storage.files import is_complete
from pipeline.storage.layout import Store

TODAY, THEN, BEST, COVERAGE = "held out today", "held out then", "best of the last champions", "coverage@20"
LEAST_COVERAGE = 0.5
"""Relative to the champion's, on the same users."""


def judge(store: Store, gate: GateConfig, candidate: Contender, champion: Champion | None) -> Verdict:
    """Judge a candidate; without a champion by the rows that need none.

    Raises `StoreError` where the champion's release is gone.
    """
    finite, value = finite_row(candidate), None
    rows, previous = [finite], previous_champions(store, gate, champion) if champion else []
    if finite.verdict == PASSED:
        before = _standing(store, champion) if champion else None
        rows += _against_champion(gate, candidate, before) if before else []
        rows += _best_rows(store, gate, candidate, previous) if previous else []
        rows += [zero_row(candidate, before), *([norm_row(candidate, before)] if before else [])]
        own, value = _own_rows(gate, candidate)
        rows += own
    return Verdict(
        run_id=candidate.run_id,
        verdict=REFUSED if any(row.verdict == REFUSED for row in rows) else PASSED,
        champion=champion.run_id if champion else None,
        champion_digest=champion.digest if champion else None,
        previous=[one.run_id for one in previous],
        metric=gate.metric,
        value=value,
        rows=rows,
        gate=gate.as_record(),
    )


def _standing(store: Store, champion: Champion) -> Contender:
    if not is_complete(store.release(champion.run_id)):
        raise DamagedError(
            f"the champion's release {store.release(champion.run_id)} is gone, so nothing can be compared with it; "
            f"restore it, or delete {store.champion} to begin anew"
        )
    return released(store, champion.run_id, champion.manifest_sha256)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two contenders on the same pairs."""

    new: Measured
    old: Measured
    estimate: Estimate | None
    graded: Estimate | None
    note: str

    @property
    def num_users(self) -> int:
        """Users with pairs."""
        return len(self.new.value_Q)


def _against_champion(gate: GateConfig, candidate: Contender, champion: Contender) -> list[Row]:
    ground = ground_of(candidate, champion, gate.max_users)
    parts = {TODAY: ground.now, THEN: ground.then}
    found = {
        name: _compare(gate, candidate, champion, ground, pairs)
        for name, pairs in parts.items()
        if pairs is not None and len(pairs.key_P)
    }
    if not found:
        return [_incomparable_row(candidate, champion, ground)]
    rows = []
    for name in parts:
        caveat = _caveat(name, candidate, champion)
        if name in found:
            rows += difference_rows(gate, name, found[name], caveat)
        else:
            rows.append(
                Row(name=name, verdict=NOT_JUDGED, note=caveat or "no such interaction of users and items in common")
            )
    first = next(iter(found.values()))
    return [*rows, _coverage_row(first, ground), _sharpness_row(gate, first)]


def _incomparable_row(candidate: Contender, champion: Contender, ground: Ground) -> Row:
    """If there is no pair to compare on: expected of a run that holds nothing out, a fault of a run that does."""
    for one in (candidate, champion):
        if one.dataset is not None and held_out_users(one.dataset).is_empty():
            return Row(name=TODAY, verdict=NOT_JUDGED, note=f"run {one.run_id} holds nothing out (section [split])")
    return Row(
        name=TODAY,
        verdict=REFUSED,
        note=f"{candidate.run_id} and {champion.run_id} have no held-out interaction in common, and "
        f"{len(ground.items):,} items: were ids changed, or the runs' folders removed? "
        'Promote by hand with --force, or set gate.metric = "none" for once',
    )


def _compare(
    gate: GateConfig,
    candidate: Contender,
    other: Contender,
    ground: Ground,
    pairs: Pairs,
    confidence: float | None = None,
) -> Compared:
    """Both on the same pairs, of which there is one at least."""
    scorers = [one.scorer(ground.users, ground.items) for one in (candidate, other)]
    field = (pairs, ground.seen, ground.candidate_I, gate.metric)
    new, old = (measure(one, *field) for one in scorers)
    new_gain_Q, old_gain_Q = (graded(one, *field) for one in scorers)
    level = confidence or gate.confidence
    return Compared(
        new=new,
        old=old,
        estimate=relative_difference(new.value_Q, old.value_Q, level),
        graded=relative_difference(new_gain_Q, old_gain_Q, level),
        note=f"{gate.metric} {new.value_Q.mean():.4f}, {other.run_id} {old.value_Q.mean():.4f}; "
        f"{len(new.value_Q):,} users, {len(pairs.key_P):,} pairs, {len(ground.items):,} items",
    )


def _caveat(name: str, candidate: Contender, champion: Contender) -> str:
    """Which run's folder is missing, and what follows."""
    owner, other = (candidate, champion) if name == TODAY else (champion, candidate)
    if owner.dataset is None:
        return f"the dataset of run {owner.run_id} is gone"
    if other.dataset is None:
        return f"the dataset of run {other.run_id} is gone: pairs it was trained on are not taken out, which favours it"
    return ""


def difference_rows(gate: GateConfig, name: str, compared: Compared, caveat: str) -> list[Row]:
    """By the metric, and by the graded gain, which is sharper: it sees falls that the metric leaves to luck."""
    note = "; ".join(filter(None, (compared.note, caveat)))
    if compared.num_users < FEWEST_USERS:
        return [Row(name=name, verdict=NOT_JUDGED, note=f"{note}; {FEWEST_USERS} users are needed")]
    rows = [_difference_row(gate, name, compared.estimate, note)]
    sharper = _difference_row(gate, f"{name}, graded", compared.graded, "the same pairs by their ranks (graded gain)")
    if sharper.verdict == REFUSED and compared.estimate is not None and compared.estimate.interval[0] > 0:
        note = f"{sharper.note}; {gate.metric} itself has risen significantly"
        sharper = dataclasses.replace(sharper, verdict=PASSED, margin=None, note=note)
    return [*rows, sharper]


def _difference_row(gate: GateConfig, name: str, estimate: Estimate | None, note: str) -> Row:
    if estimate is None:
        return Row(name=name, verdict=PASSED, note=f"{note}; the other is no better than nothing")
    return Row(
        name=name,
        verdict=REFUSED if estimate.interval[1] < -gate.max_regression else PASSED,
        figure=estimate.value,
        interval=estimate.interval,
        limit=-gate.max_regression,
        margin=estimate.interval[1] + gate.max_regression,
        percent=True,
        note=note,
    )


def _coverage_row(compared: Compared, ground: Ground) -> Row:
    own, before = compared.new.coverage(len(ground.items)), compared.old.coverage(len(ground.items))
    if compared.num_users < FEWEST_USERS or not before:
        return Row(name=COVERAGE, verdict=NOT_JUDGED, note=f"{FEWEST_USERS} users are needed")
    return Row(
        name=COVERAGE,
        verdict=REFUSED if own < LEAST_COVERAGE * before else PASSED,
        figure=own / before,
        limit=LEAST_COVERAGE,
        margin=own / before - LEAST_COVERAGE,
        note=f"relative to the champion's: {own:.1%} of the items stand in a list, the champion's {before:.1%}",
    )


def _sharpness_row(gate: GateConfig, compared: Compared) -> Row:
    """How large a fall must be to be refused nearly always."""
    name = "detectable fall"
    if compared.estimate is None or compared.graded is None:
        return Row(name=name, verdict=NOT_JUDGED, note="nothing was compared")
    by_metric, by_gain = (detectable_fall(one, gate.max_regression) for one in (compared.estimate, compared.graded))
    return Row(
        name=name,
        verdict=NOT_JUDGED,
        figure=by_gain,
        percent=True,
        note=f"of the graded gain, {by_metric:+.1%} of {gate.metric}: such a fall is refused in {POWER:.0%} of nights",
    )


def _best_rows(store: Store, gate: GateConfig, candidate: Contender, previous: list[Champion]) -> list[Row]:
    """Against the best of the champions before: steps that are each allowed may not add up.

    The best is chosen by looking, so all intervals hold together.
    """
    confidence = simultaneous(gate.confidence, len(previous))
    found = [one for before in previous if (one := _before(store, gate, candidate, before, confidence))]
    if not found:
        names = ", ".join(before.run_id for before in previous)
        return [Row(name=BEST, verdict=NOT_JUDGED, note=f"of {names} none can be compared")]
    return difference_rows(gate, BEST, best_of(found), f"the best of {len(found)}, by simultaneous intervals")


def simultaneous(confidence: float, count: int) -> float:
    """Confidence of each of `count` intervals that hold together with `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / count


def best_of(found: Sequence[Compared]) -> Compared:
    """The comparison with the strongest of several other models, by the graded gain."""
    return min(found, key=lambda one: one.graded.value if one.graded else 0.0)


def _before(
    store: Store, gate: GateConfig, candidate: Contender, before: Champion, confidence: float
) -> Compared | None:
    """An earlier champion; None if it cannot be compared: its damage is not the candidate's fault."""
    try:
        other = released(store, before.run_id, before.manifest_sha256)
    except StoreError:
        return None
    ground = ground_of(candidate, other, gate.max_users)
    pairs = ground.then if ground.now is None else ground.now
    if pairs is None or not len(pairs.key_P):
        return None
    return _compare(gate, candidate, other, ground, pairs, confidence)


def _own_rows(gate: GateConfig, candidate: Contender) -> tuple[list[Row], float | None]:
    """Against the baselines and chance, and the candidate's own value of the metric."""
    names = [*gate.baselines, "new items"]
    dataset = candidate.dataset
    why = None
    if dataset is None:
        why = f"the dataset of run {candidate.run_id} is gone"
    elif held_out_users(dataset).is_empty():
        why = f"run {candidate.run_id} holds nothing out"
    if dataset is None or why:
        return [Row(name=name, verdict=NOT_JUDGED, note=why or "") for name in names], None
    own = own_ground(candidate, dataset, gate)
    rows = [*(baseline_row(name, own, gate) for name in gate.baselines), new_items_row(own, gate)]
    return rows, float(own.measured.value_Q.mean())
