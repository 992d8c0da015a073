"""The quality gate for an evaluated run, before its release is written. It is not a stage: it may be asked again."""

from datetime import datetime

from safetensors.torch import load_file

from pipeline import stages
from pipeline.columns import ITEM_ID, USER_ID
from pipeline.dataset.dataset import load_dataset
from pipeline.registry.champion import read_champion
from pipeline.registry.gate import NO_GATE, not_judged, still_counts
from pipeline.registry.judging.contender import COLD_ITEMS, Contender
from pipeline.registry.judging.judge import judge
from pipeline.release.verdict import OFF, SUPERSEDED, Verdict, read_verdict
from pipeline.run import Run
from pipeline.stages.checkpoint import VECTORS


def ask_gate(run: Run, as_of: datetime | None = None, *, again: bool = True) -> Verdict:
    """Judge a run and write `gate.json` into its folder; nothing is moved, and a refusal is not an error here.

    A champion that stands for a later moment than `as_of` stays in any case, so nothing is judged. Unless `again`,
    what was recorded is given back where it still counts.

    Raises:
        InputError: the run has not been evaluated.
        StoreError: the champion's release is gone.
    """
    run.require(stages.EVALUATE)
    gate, champion = run.config.gate, read_champion(run.store)
    recorded = None if again else read_verdict(run.path)
    if recorded and still_counts(recorded, run.store, gate, run.id, champion):
        return recorded
    if gate.metric == NO_GATE:
        verdict = not_judged(OFF, gate, run.id, champion)
    elif champion and champion.stands_for_later(as_of):
        verdict = not_judged(SUPERSEDED, gate, run.id, champion)
    else:
        verdict = judge(run.store, gate, trained(run), champion)
    verdict.write(run.path)
    run.reporter.say(f"gate: {verdict.headline}")
    return verdict


def trained(run: Run) -> Contender:
    """The vectors that a run has trained, whose scores are those of the release that `export` writes."""
    dataset = load_dataset(run.folder(stages.PREPARE), with_features=False)
    with run.committed(stages.TRAIN).open(VECTORS) as file:
        vectors = load_file(file)
    return Contender(
        run_id=run.id,
        users=dataset.users[USER_ID],
        items=dataset.items[ITEM_ID],
        user_UD=vectors["user_UD"],
        item_ID=vectors["item_ID"],
        has_content_I=(vectors["modality_weight_IM"].sum(1) > 0).numpy(),
        dataset=dataset,
        cold_items=run.config.split.strategy == COLD_ITEMS,
    )
