"""How a release differs from the champion's: the delta that consumers load, and the drift that people read."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.columns import ITEM_INDEX, SOURCE, TRAIN, USER_INDEX
from pipeline.dataset.dataset import Dataset
from pipeline.release.delta import SIDES, make_delta
from pipeline.release.drift import Known, measure_drift
from pipeline.release.format import ITEM_EMBEDDINGS
from pipeline.release.space import DriftRow
from pipeline.stages.align import ITEM_VECTORS, USERS, Aligned, Former

CONTENT_ONLY = "content"
"""`source` of an item whose vector rests on nothing else."""


@dataclass(frozen=True, kw_only=True)
class Movement:
    """Of a release that goes on with a line; empty for a first one."""

    deltas: dict[str, pa.Table] = field(default_factory=dict)
    """By side, `items` and `users`."""
    drift: dict[str, DriftRow] = field(default_factory=dict)
    """By slice."""


def movement(aligned: Aligned, tables: dict[str, pa.Table], dataset: Dataset) -> Movement:
    """Compare a release's tables with those of the champion that it is aligned to."""
    former = aligned.former
    if former is None:
        return Movement()
    then = {"items": former.items, "users": former.users}
    deltas = {side: make_delta(then[side], tables[table], key) for side, (table, key) in SIDES.items()}
    return Movement(deltas=deltas, drift=measure_drift(_known(former, aligned, tables, dataset)))


def _known(former: Former, aligned: Aligned, tables: dict[str, pa.Table], dataset: Dataset) -> Known:
    items, users = (former.pair(side, aligned.vectors[side]) for side in (ITEM_VECTORS, USERS))
    known_I, known_U = former.row_I >= 0, former.row_U >= 0
    popularity_I = np.bincount(dataset.pairs(TRAIN)[1].numpy(), minlength=len(known_I))
    content_only_I = np.array(tables[ITEM_EMBEDDINGS].column(SOURCE).to_pylist()) == CONTENT_ONLY
    place_I, place_U = np.cumsum(known_I) - 1, np.cumsum(known_U) - 1
    user, item = (dataset.interactions[name].to_numpy() for name in (USER_INDEX, ITEM_INDEX))
    both = known_U[user] & known_I[item]
    return Known(
        items=items[::-1],
        users=users[::-1],
        popularity_I=popularity_I[known_I],
        content_only_I=content_only_I[known_I],
        seen=(place_U[user[both]], place_I[item[both]]),
    )
