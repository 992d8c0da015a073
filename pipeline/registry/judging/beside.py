"""A model beside the champion in plain figures, for the report: the gate's ground, without its verdict."""

import polars as pl

from model.evaluation import Pairs, metrics_per_user, rank_items
from pipeline.columns import SPLIT, TEST, VALIDATION
from pipeline.dataset.alignment import pairs_among
from pipeline.dataset.intervals import figure
from pipeline.dataset.protocol import CUTOFFS, FIGURES
from pipeline.dataset.records import BesideChampion
from pipeline.registry.judging.contender import Contender
from pipeline.registry.judging.ground import LIST_LENGTH, as_pairs, ground_of


def beside_champion(candidate: Contender, champion: Contender, max_users: int) -> BesideChampion | None:
    """Both on the candidate's test interactions that the champion was not trained on; None where there are none.

    Of users and items that both know. What either was trained on, and the candidate's validation, is masked.
    """
    ground = ground_of(candidate, champion, max_users)
    if candidate.dataset is None or ground.now is None:
        return None
    own = pairs_among(candidate.dataset, ground.users, ground.items)
    counts = len(ground.users), len(ground.items)
    is_test = as_pairs(own.filter(pl.col(SPLIT) == TEST), *counts).contains(ground.now.user_P, ground.now.item_P)
    pairs = Pairs(ground.now.user_P[is_test], ground.now.item_P[is_test], *counts)
    if not len(pairs.key_P):
        return None
    seen = [ground.seen, as_pairs(own.filter(pl.col(SPLIT) == VALIDATION), *counts)]
    new, old = (
        metrics_per_user(
            rank_items(one.scorer(ground.users, ground.items), pairs.users(), seen, LIST_LENGTH, ground.candidate_I),
            pairs,
            CUTOFFS,
        )
        for one in (candidate, champion)
    )
    return BesideChampion(
        run_id=champion.run_id,
        interactions=len(pairs.key_P),
        model={name: figure(new[name].numpy()) for name in FIGURES},
        champion={name: figure(old[name].numpy()) for name in FIGURES},
        difference={name: figure((new[name] - old[name]).numpy()) for name in FIGURES},
        fair=champion.dataset is not None,
    )
