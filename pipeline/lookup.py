"""A look at a release: a user's best items, an item's nearest ones, titles beside ids."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.columns import EMBEDDING, ITEM_ID, SCORE, TITLE, USER_ID
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.release import ITEM_EMBEDDINGS, USER_VECTORS, choose_release, read_table, vectors_of


def recommend_items(config: Config, user: str, k: int, release_name: str | None) -> dict[str, Any]:
    """The k items with the largest inner product with the user's vector, whatever the user has had before."""
    release = choose_release(config.open_store(), release_name)
    users = read_table(release, USER_VECTORS)
    items = read_table(release, ITEM_EMBEDDINGS)
    vector_D = vectors_of(users, EMBEDDING)[_position(users.column(USER_ID), user, f"{release}: user")]
    score_I = vectors_of(items, EMBEDDING) @ vector_D
    return {"release": release.name, "user_id": user, "items": _listing(config, items, score_I, k)}


def similar_items(config: Config, item: str, k: int, release_name: str | None) -> dict[str, Any]:
    """The k items with the largest cosine to the item's vector, itself left out."""
    release = choose_release(config.open_store(), release_name)
    items = read_table(release, ITEM_EMBEDDINGS)
    position = _position(items.column(ITEM_ID), item, f"{release}: item")
    item_ID = vectors_of(items, EMBEDDING)
    unit_ID = item_ID / np.maximum(np.linalg.norm(item_ID, axis=1, keepdims=True), 1e-12)
    score_I = unit_ID @ unit_ID[position]
    score_I[position] = -np.inf
    return {
        "release": release.name,
        "item_id": item,
        "items": _listing(config, items, score_I, min(k, len(score_I) - 1)),
    }


def _position(ids: pa.ChunkedArray, wanted: str, what: str) -> int:
    """Row of an id given on the command line; integer ids are compared as text."""
    place = pa.compute.index(ids.cast(pa.string()), pa.scalar(wanted, pa.string())).as_py()
    if place < 0:
        raise InputError(f"{what} {wanted!r} is not in the release")
    return int(place)


def _listing(config: Config, items: pa.Table, score_I: np.ndarray, k: int) -> list[dict[str, Any]]:
    order = np.argsort(-score_I, kind="stable")[:k]
    ids = items.column(ITEM_ID).take(pa.array(order)).to_pylist()
    titles = _titles(config, ids)
    return [
        {"rank": rank, ITEM_ID: item_id, TITLE: titles.get(item_id), SCORE: float(score_I[place])}
        for rank, (place, item_id) in enumerate(zip(order, ids, strict=True), start=1)
    ]


def _titles(config: Config, ids: list[Any]) -> dict[Any, str]:
    """Titles from the catalogue as it is now; an item that has left it has none."""
    from pipeline.catalogue import read_items

    items = read_items(config)
    if TITLE not in items.collect_schema().names():
        return {}
    return dict(items.filter(pl.col(ITEM_ID).is_in(ids)).select(ITEM_ID, TITLE).collect().iter_rows())
