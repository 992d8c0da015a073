"""A map of the catalogue: items in the plane, near each other where their vectors are.

The layout is t-SNE (van der Maaten & Hinton, JMLR 9, 2008) of the vectors' directions, begun from their principal
components: the same vectors give the same map. Shapes: P items on the map, I items, D dimension.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import join_texts
from pipeline.columns import IMAGE_PATH, ITEM_ID, KIND, TITLE
from pipeline.dataset.dataset import Dataset
from pipeline.release.cards import picture_sheet, read_pictures
from pipeline.release.report import CatalogueMap, MapKind, Place

MOST, FEWEST = 1000, 40
"""Items on a map; of fewer there is none."""
KINDS = 12
"""That are told apart, by colour and shape and by name."""
SEED = 0
STEPS, PERPLEXITY = 500, 30


def catalogue_map(
    catalogue: Catalogue, dataset: Dataset, item_ID: np.ndarray, column: str | None
) -> CatalogueMap | None:
    """The map of a drawn part of the items that have a vector; None where they are too few.

    Args:
        item_ID: as released.
        column: of the catalogue, that kinds are read from.
    """
    has_I = np.flatnonzero(item_ID.any(axis=1))
    if len(has_I) < FEWEST:
        return None
    row_P = np.sort(np.random.default_rng(SEED).permutation(has_I)[:MOST])
    place_P2 = layout(item_ID[row_P])
    items = dataset.items[row_P]
    names = _kinds(dataset.items)
    kind_P = _numbers(items, names)
    titles = join_texts(items, [TITLE]) if TITLE in items.columns else [""] * len(items)
    return CatalogueMap(
        places=[
            Place(x=float(x), y=float(y), title=title or str(item_id), kind=int(kind))
            for (x, y), title, item_id, kind in zip(place_P2, titles, items[ITEM_ID].to_list(), kind_P, strict=True)
        ],
        kinds=list(_labels(names, place_P2, kind_P)),
        column=column if names else None,
        of=len(dataset.items),
        sheet=picture_sheet(read_pictures(catalogue, items[IMAGE_PATH].to_list()))
        if IMAGE_PATH in items.columns
        else None,
    )


def layout(vector_PD: np.ndarray) -> np.ndarray:
    """Places from 0 to 1, float64 (P, 2). In one thread: of several, each step waits for the last to be scheduled."""
    from sklearn.manifold import TSNE

    unit_PD = vector_PD / np.maximum(np.linalg.norm(vector_PD, axis=1, keepdims=True), 1e-12)
    perplexity = min(PERPLEXITY, (len(unit_PD) - 1) / 3)
    with threadpool_limits(1):
        place_P2 = TSNE(2, init="pca", random_state=SEED, perplexity=perplexity, max_iter=STEPS).fit_transform(unit_PD)
    low_2, high_2 = place_P2.min(axis=0), place_P2.max(axis=0)
    scaled_P2: np.ndarray = (place_P2 - low_2) / np.maximum(high_2 - low_2, 1e-12)
    return scaled_P2.astype(np.float64)


def _kinds(items: pl.DataFrame) -> dict[str, int]:
    """The most frequent kinds with their number of items."""
    if KIND not in items.columns:
        return {}
    counted = items[KIND].drop_nulls().value_counts().sort(["count", KIND], descending=[True, False]).head(KINDS)
    return dict(counted.iter_rows())


def _numbers(items: pl.DataFrame, names: dict[str, int]) -> np.ndarray:
    number: dict[str | None, int] = {name: place for place, name in enumerate(names)}
    kinds = items[KIND].to_list() if names else [None] * len(items)
    return np.array([number.get(kind, -1) for kind in kinds])


def _labels(names: dict[str, int], place_P2: np.ndarray, kind_P: np.ndarray) -> Iterator[MapKind]:
    """A kind's name stands at the item that is nearest to the middle of its items."""
    for number, (name, count) in enumerate(names.items()):
        own_P2 = place_P2[kind_P == number]
        if len(own_P2):
            nearest = np.linalg.norm(own_P2 - np.median(own_P2, axis=0), axis=1).argmin()
            yield MapKind(
                number=number, name=name, count=count, x=float(own_P2[nearest][0]), y=float(own_P2[nearest][1])
            )
