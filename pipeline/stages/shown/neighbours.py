"""Items with their neighbours: those nearest in content, some at random, those farthest, those that changed most.

Shapes: A items looked at, K neighbours, F feature dimension.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import ITEM_ID, MODALITY, NEIGHBOUR_ID, RANK, SIMILARITY, TRAIN
from pipeline.dataset.dataset import Dataset
from pipeline.release.delta import CHANGE, COSINE, ID, MOVED
from pipeline.release.report import Neighbourhood, Neighbourhoods, Shown

LEARNED = "learned"
"""Name of the graph over the released vectors in `item_graph`."""
EACH, NEIGHBOURS = 3, 6
LOOKED_AT = 2000
SEED = 0
NOW, THEN = "this release", "the champion"
BLOCK = 64
BEST = "Best", "Their neighbours are the most alike in content."
RANDOM = "At random", "Drawn blindly, to see what is usual."
WORST = "Worst", "Their neighbours are the least alike in content. Do shoppers mix these, or is it a fault?"


def neighbourhoods(
    dataset: Dataset, graph: pa.Table, delta: pa.Table | None = None, former_graph: pa.Table | None = None
) -> list[Neighbourhoods]:
    """Groups of items with their neighbours; none of a catalogue in which no item has a neighbour.

    Args:
        graph: `item_graph` of the release.
        delta: of its items; None for a first release.
        former_graph: `item_graph` of the champion that the delta is relative to.
    """
    learned = graph.filter(pc.equal(graph.column(MODALITY), LEARNED))
    looked_at = _looked_at(dataset, learned)
    if not looked_at:
        return []
    alike = _alike(dataset, learned, looked_at) if dataset.features else {}
    drawn = np.random.default_rng(SEED).permutation(len(looked_at))[: EACH + 1]
    groups = [_group(*RANDOM, [looked_at[place] for place in sorted(drawn)], graph, alike)]
    if len(alike) > 2 * EACH:
        ordered = sorted(alike, key=lambda one: (-alike[one], str(one)))
        best, worst = _group(*BEST, ordered[:EACH], graph, alike), _group(*WORST, ordered[-EACH:][::-1], graph, alike)
        groups = [best, *groups, worst]
    if delta is not None and former_graph is not None:
        groups += _since(_changed(delta, former_graph, set(looked_at)), learned, former_graph)
    return groups


def _looked_at(dataset: Dataset, learned: pa.Table) -> list[Any]:
    """Items with interactions and neighbours, drawn with a fixed seed where there are many."""
    count_I = np.bincount(dataset.pairs(TRAIN)[1].numpy(), minlength=len(dataset.items))
    touched = dataset.items[ITEM_ID].filter(count_I > 0).to_arrow()
    having = pc.unique(learned.column(ITEM_ID))
    ids = touched.filter(pc.is_in(touched.cast(having.type), value_set=having)).to_pylist()
    order = np.sort(np.random.default_rng(SEED).permutation(len(ids))[:LOOKED_AT])
    return [ids[place] for place in order]


def _rows(graph: pa.Table, ids: list[Any]) -> list[dict[str, Any]]:
    wanted = pc.and_(
        pc.is_in(graph.column(ITEM_ID), value_set=pa.array(ids, graph.schema.field(ITEM_ID).type)),
        pc.less_equal(graph.column(RANK), NEIGHBOURS),
    )
    rows: list[dict[str, Any]] = graph.filter(wanted).to_pylist()
    return rows


def _alike(dataset: Dataset, learned: pa.Table, ids: list[Any]) -> dict[Any, float]:
    """Mean cosine of content between an item and its learned neighbours, over what both have."""
    row = {item_id: place for place, item_id in enumerate(dataset.items[ITEM_ID].to_list())}
    edges = [(row[one[ITEM_ID]], row[one[NEIGHBOUR_ID]]) for one in _rows(learned, ids)]
    if not edges:
        return {}
    from_E, to_E = np.array(edges).T
    total_I, count_I = np.zeros(len(row)), np.zeros(len(row))
    for name, feature_IF in dataset.features.items():
        both_E = dataset.present[name][from_E] & dataset.present[name][to_E]
        cosine_E = _cosines(feature_IF, from_E[both_E], to_E[both_E])
        np.add.at(total_I, from_E[both_E], cosine_E)
        np.add.at(count_I, from_E[both_E], 1)
    return {one: total_I[row[one]] / count_I[row[one]] for one in ids if count_I[row[one]]}


def _cosines(feature_IF: np.ndarray, from_E: np.ndarray, to_E: np.ndarray) -> np.ndarray:
    blocks = []
    for start in range(0, len(from_E), BLOCK * NEIGHBOURS):
        block = slice(start, start + BLOCK * NEIGHBOURS)
        left_EF, right_EF = feature_IF[from_E[block]], feature_IF[to_E[block]]
        length_E = np.linalg.norm(left_EF, axis=1) * np.linalg.norm(right_EF, axis=1)
        blocks.append(np.einsum("ef,ef->e", left_EF, right_EF) / np.maximum(length_E, 1e-12))
    return np.concatenate(blocks) if blocks else np.empty(0)


def _group(title: str, lead: str, ids: list[Any], graph: pa.Table, alike: dict[Any, float]) -> Neighbourhoods:
    rows = _rows(graph, ids)
    names = dict.fromkeys([LEARNED, *(entry[MODALITY] for entry in rows)])
    return Neighbourhoods(
        title=title,
        lead=lead,
        rows=[
            Neighbourhood(
                item=one,
                note=f"content alike {alike[one]:.2f}" if one in alike else "",
                lanes={
                    "learned vectors" if name == LEARNED else f"{name} alone": _lane(rows, one, name) for name in names
                },
            )
            for one in ids
        ],
    )


def _lane(rows: list[dict[str, Any]], item: Any, modality: str) -> list[Shown]:
    own = [one for one in rows if one[ITEM_ID] == item and one[MODALITY] == modality]
    return [Shown(id=one[NEIGHBOUR_ID], note=f"cosine {one[SIMILARITY]:.2f}") for one in own]


def _changed(delta: pa.Table, former_graph: pa.Table, among: set[Any]) -> list[tuple[Any, float]]:
    """Items whose vectors moved most, with the cosine to what they were."""
    moved = delta.filter(pc.equal(delta.column(CHANGE), MOVED)).sort_by(COSINE)
    known = set(pc.unique(former_graph.column(ITEM_ID)).to_pylist())
    pairs = zip(moved.column(ID).to_pylist(), moved.column(COSINE).to_pylist(), strict=True)
    return [(one, cosine) for one, cosine in pairs if one in among and one in known][:EACH]


def _since(changed: list[tuple[Any, float]], learned: pa.Table, former_graph: pa.Table) -> list[Neighbourhoods]:
    if not changed:
        return []
    former = former_graph.filter(pc.equal(former_graph.column(MODALITY), LEARNED))
    ids = [one for one, _ in changed]
    now, then = _rows(learned, ids), _rows(former, ids)
    since = Neighbourhoods(
        title="Most changed since the champion",
        lead="Of the items with interactions, those whose vectors moved most.",
        rows=[
            Neighbourhood(
                item=one,
                note=f"cosine to the champion’s vector {cosine:.2f}",
                lanes={NOW: _lane(now, one, LEARNED), THEN: _lane(then, one, LEARNED)},
            )
            for one, cosine in changed
        ],
    )
    return [since]
