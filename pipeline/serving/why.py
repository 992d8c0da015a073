"""Why items are recommended: which part of a score comes from what others bought, and which from content.

`stages.score_parts` has the parts, this file the items that the user has and that are nearest.

Shapes: Q items asked about, S items that the user has, D dimension, F feature dimension.
"""

import dataclasses
from typing import Any

import numpy as np
from upath import UPath

from pipeline import stages
from pipeline.columns import EMBEDDING, ITEM_ID, USER_ID
from pipeline.config.config import Config, compose
from pipeline.dataset.dataset import load_dataset
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.champion import choose_release
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS
from pipeline.release.manifest import read_manifest
from pipeline.release.rotations import Rotations
from pipeline.release.sound import sound_table
from pipeline.run import Run
from pipeline.serving.lookup import Owned, Reason, Recommendations, position, seen_items, titles
from pipeline.stages.score_parts import score_parts
from pipeline.storage.arrow import vectors_of

NEAREST = 3
"""Items that the user has, named for each item."""


def explain(config: Config, found: Recommendations) -> Recommendations:
    """The same list with a `Reason` for each item.

    Raises `InputError` where the run that made the release is no longer in the store.
    """
    store = config.open_store()
    release = choose_release(store, found.release)
    manifest = read_manifest(release)
    run = Run.present(manifest.run_id, config, store, Reporter())
    training = run.result(stages.TRAIN)
    if training is None:
        raise InputError(f"run {run.id} is no longer in {store.runs}: its vectors are needed to say why")
    users, dataset = sound_table(release, USER_VECTORS), load_dataset(run.folder(stages.PREPARE))
    user = position(users.column(USER_ID), found.user_id, f"{release}: user")
    seen = seen_items(release, users.column(USER_ID)[user])
    row = {item_id: place for place, item_id in enumerate(dataset.items[ITEM_ID].to_list())}
    asked_Q = np.array([row[one.item_id] for one in found.items], dtype=np.int64)
    had_S = np.array([row[item_id] for item_id in (seen.to_pylist() if seen is not None else [])], dtype=np.int64)

    model = compose(manifest.config, base=config.base).model
    made = score_parts(run, dataset, training, model, Rotations.of(release), asked_Q)
    told = made.of(
        vectors_of(users, EMBEDDING)[user], np.array([one.score for one in found.items]), range(len(asked_Q))
    )
    released_ID = _in_order(release, row)
    nearest = {"all": _nearest(released_ID, np.ones(len(released_ID), bool), asked_Q, had_S)}
    for name in training.modalities:
        nearest[name] = _nearest(dataset.features[name], dataset.present[name], asked_Q, had_S)
    had = _owned(config, [list(row)[place] for place in had_S])
    listed = []
    for place, (one, parts) in enumerate(zip(found.items, told, strict=True)):
        near = {name: [had[at] for at in near_Q[place]] for name, near_Q in nearest.items()}
        listed.append(dataclasses.replace(one, why=Reason(parts=parts, nearest=near)))
    return dataclasses.replace(found, items=listed)


def _in_order(release: UPath, row: dict[Any, int]) -> np.ndarray:
    """Released vectors of the items, float32 (I, D), in the order of the run's rows."""
    items = sound_table(release, ITEM_EMBEDDINGS)
    vector_ID = vectors_of(items, EMBEDDING)
    ordered_ID = np.empty_like(vector_ID)
    ordered_ID[[row[item_id] for item_id in items.column(ITEM_ID).to_pylist()]] = vector_ID
    return ordered_ID


def _owned(config: Config, ids: list[Any]) -> list[Owned]:
    named = titles(config.open_catalogue(), ids)
    return [Owned(item_id=item_id, title=named.get(item_id)) for item_id in ids]


def _nearest(vector_IF: np.ndarray, present_I: np.ndarray, asked_Q: np.ndarray, had_S: np.ndarray) -> list[list[int]]:
    """Places in `had_S` of the items nearest to each one by cosine: `NEAREST`, or fewer where there are fewer.

    Items that are not present, or whose vector is zero, are near nothing, and nothing is near them.
    """
    asked_QF, had_SF = (_unit(vector_IF[rows]) for rows in (asked_Q, had_S))
    asked_has_Q, had_has_S = (
        present_I[rows] & unit_RF.any(axis=1) for rows, unit_RF in ((asked_Q, asked_QF), (had_S, had_SF))
    )
    places_S = np.flatnonzero(had_has_S)
    order_QS = places_S[np.argsort(-(asked_QF @ had_SF[places_S].T), axis=1, kind="stable")[:, :NEAREST]]
    return [order_S.tolist() if has else [] for order_S, has in zip(order_QS, asked_has_Q, strict=True)]


def _unit(vector_RF: np.ndarray) -> np.ndarray:
    length_R1 = np.maximum(np.linalg.norm(vector_RF, axis=1, keepdims=True), 1e-12)
    unit_RF: np.ndarray = vector_RF / length_R1
    return unit_RF
