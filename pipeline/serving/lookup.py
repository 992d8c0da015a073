"""A look at a release: a user's best items, an item's nearest ones, titles beside ids."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import join_texts
from pipeline.columns import EMBEDDING, ITEM_ID, TITLE, USER_ID
from pipeline.errors import InputError
from pipeline.registry.champion import choose_release
from pipeline.release.format import ITEM_EMBEDDINGS, SEEN, TABLES_OF, USER_VECTORS
from pipeline.release.increment import find_increment, merged
from pipeline.release.manifest import read_manifest
from pipeline.release.sound import sound_table
from pipeline.storage.arrow import vectors_of
from pipeline.storage.layout import Store


@dataclass(frozen=True, kw_only=True)
class Owned:
    """An item that a user has."""

    item_id: Any
    title: str | None


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why an item is in a user's list (`serving.why`)."""

    parts: dict[str, float]
    """Of the score, which they sum up to, by where they come from."""
    nearest: dict[str, list[Owned]]
    """What the user has, nearest first: by the released vectors (`all`), and by each modality."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One item of a list."""

    rank: int
    """From 1."""
    item_id: Any
    title: str | None
    score: float
    why: Reason | None = None
    """Where it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Recommendations:
    """A user's best items."""

    release: str
    user_id: str
    left_out: int | None
    """Items that the user has already; None where the release, of an earlier version, does not say which."""
    items: list[Listed]


@dataclass(frozen=True, kw_only=True)
class Similar:
    """An item's nearest ones."""

    release: str
    item_id: str
    items: list[Listed]


def recommend_items(
    store: Store,
    catalogue: Catalogue,
    user: str,
    k: int,
    release_name: str | None,
    *,
    with_seen: bool = False,
    with_new: bool = True,
) -> Recommendations:
    """The k items with the largest inner product with the user's vector; without those that the user has already.

    Args: with_new: also of the increment beside the release.
    """
    release = choose_release(store, release_name)
    users = sound_table(release, USER_VECTORS)
    items = _items(store, release) if with_new else sound_table(release, ITEM_EMBEDDINGS)
    row = position(users.column(USER_ID), user, f"{release}: user")
    score_I = vectors_of(items, EMBEDDING) @ vectors_of(users, EMBEDDING)[row]
    seen = None if with_seen else seen_items(release, users.column(USER_ID)[row])
    left_out = 0 if with_seen else None
    if seen is not None:
        seen_I = pc.is_in(items.column(ITEM_ID), value_set=seen).to_numpy()
        score_I[seen_I], left_out = -np.inf, int(seen_I.sum())
    listed = _listing(catalogue, items, score_I, min(k, len(score_I) - (left_out or 0)))
    return Recommendations(release=release.name, user_id=user, left_out=left_out, items=listed)


def similar_items(store: Store, catalogue: Catalogue, item: str, k: int, release_name: str | None) -> Similar:
    """The k items with the largest cosine to the item's vector, itself left out."""
    release = choose_release(store, release_name)
    items = _items(store, release)
    place = position(items.column(ITEM_ID), item, f"{release}: item")
    item_ID = vectors_of(items, EMBEDDING)
    unit_ID = item_ID / np.maximum(np.linalg.norm(item_ID, axis=1, keepdims=True), 1e-12)
    score_I = unit_ID @ unit_ID[place]
    score_I[place] = -np.inf
    listed = _listing(catalogue, items, score_I, min(k, len(score_I) - 1))
    return Similar(release=release.name, item_id=item, items=listed)


def _items(store: Store, release: UPath) -> pa.Table:
    """The items of a release, and those of the increment that stands beside it."""
    increment = find_increment(store.increments_of(release.name), read_manifest(release).release_digest)
    return merged(sound_table(release, ITEM_EMBEDDINGS), increment)


def seen_items(release: UPath, user_id: pa.Scalar) -> pa.ChunkedArray | None:
    """Ids of the items that a user has; None of a release without that table."""
    if SEEN not in TABLES_OF[read_manifest(release).schema_version]:
        return None
    return sound_table(release, SEEN, pc.field(USER_ID) == user_id).column(ITEM_ID)


def position(ids: pa.ChunkedArray, wanted: str, what: str) -> int:
    """Row of an id given on the command line; integer ids are compared as text."""
    place = pc.index(ids.cast(pa.string()), pa.scalar(wanted, pa.string())).as_py()
    if place < 0:
        raise InputError(f"{what} {wanted!r} is not in the release")
    return int(place)


def _listing(catalogue: Catalogue, items: pa.Table, score_I: np.ndarray, k: int) -> list[Listed]:
    order = np.argsort(-score_I, kind="stable")[:k]
    ids = items.column(ITEM_ID).take(pa.array(order)).to_pylist()
    named = titles(catalogue, ids)
    return [
        Listed(rank=rank, item_id=item_id, title=named.get(item_id), score=float(score_I[place]))
        for rank, (place, item_id) in enumerate(zip(order, ids, strict=True), start=1)
    ]


def titles(catalogue: Catalogue, ids: list[Any]) -> dict[Any, str]:
    """Titles, as text, from the catalogue as it is now; an item that has left it has none."""
    items = catalogue.scan_items()
    if TITLE not in items.collect_schema().names():
        return {}
    named = catalogue.collect_items(items.filter(pl.col(ITEM_ID).is_in(ids)).select(ITEM_ID, TITLE))
    shown = zip(named[ITEM_ID], join_texts(named, [TITLE]), strict=True)
    return {item_id: title for item_id, title in shown if title}
