"""The features of a catalogue: a matrix a modality, rows in the order of the items."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.encoder import EncoderSpec
from features.modality import ModalityConfig
from features.registry import find_encoders
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import hash_pictures, read_texts, require_image_path
from pipeline.catalogue.listing import list_pictures
from pipeline.catalogue.precomputed import PRECOMPUTED, load_precomputed
from pipeline.columns import CONTENT_HASH, IMAGE_PATH, ITEM_ID, PROBLEM, SHA256
from pipeline.dataset.content_store import ContentStore
from pipeline.dataset.feature_store import OK, FeatureStore
from pipeline.errors import NotExtractedError
from pipeline.storage.layout import Store

AT_ONCE = 100_000
_READ = "read"


@dataclass(frozen=True)
class ModalityFeatures:
    """The features of a catalogue in one modality."""

    matrix: np.ndarray
    """float32 (I, D), zero where absent."""
    present: np.ndarray
    """bool (I,)."""
    encoder_key: str
    revision: str
    digest: str
    """sha256 over ids and contents."""
    parts: tuple[str, ...] = ()
    """Of the feature store, that hold them."""


def load_features(
    catalogue: Catalogue,
    modalities: Mapping[str, ModalityConfig],
    store: Store,
    items: pl.DataFrame,
    listing: pl.DataFrame | None = None,
) -> dict[str, ModalityFeatures]:
    """Features of all items in every modality, rows in the order of `items`; no encoder is loaded.

    Args: listing: the pictures as `catalogue.listing.list_pictures` has found them; None: they are listed now.

    Raises `InputError` when a content has not been extracted.
    """
    return {
        name: _load_modality(catalogue, name, modality, store, items, listing) for name, modality in modalities.items()
    }


def hash_contents(
    catalogue: Catalogue,
    name: str,
    modality: ModalityConfig,
    store: Store,
    items: pl.DataFrame,
    listing: pl.DataFrame | None,
) -> pl.Series:
    """sha256 of each item's content, null of items without.

    A picture is read where its version has not been read before, and where versions are not trusted.
    """
    if modality.columns:
        return read_texts(catalogue, name, modality.columns, items)[CONTENT_HASH]
    require_image_path(catalogue, name, items)
    pictures = catalogue.pictures()
    listing = list_pictures(pictures, items[IMAGE_PATH]) if listing is None else listing
    known = listing.with_columns(ContentStore(store.contents).known(listing)[SHA256])
    if catalogue.settings.trust == "content":
        known = known.with_columns(pl.lit(None, pl.String).alias(SHA256))
    unknown = known.filter(pl.col(SHA256).is_null() & pl.col(PROBLEM).is_null())[IMAGE_PATH]
    read = pl.DataFrame(
        {IMAGE_PATH: unknown, _READ: hash_pictures(pictures, unknown.to_list())},
        {IMAGE_PATH: pl.String, _READ: pl.String},
    )
    hashes = known.join(read, on=IMAGE_PATH, how="left").select(
        IMAGE_PATH, pl.coalesce(SHA256, _READ).alias(CONTENT_HASH)
    )
    named = items.select(pl.col(IMAGE_PATH).cast(pl.String))
    return named.join(hashes, on=IMAGE_PATH, how="left", maintain_order="left")[CONTENT_HASH]


def fitting(specs: Sequence[EncoderSpec], name: str, store: Store, hashes: pl.Series) -> EncoderSpec:
    """Of a modality's possible encoders, the one of whose vectors the store lacks fewest; otherwise the first.

    Nothing is computed twice if a store has vectors of torch. `prepare` takes the extracted vectors, from any worker.
    """
    if len(specs) == 1:
        return specs[0]
    known = hashes.drop_nulls()
    return min(specs, key=lambda spec: FeatureStore(store.features(name, spec.key)).statuses(known).null_count())


def _load_modality(
    catalogue: Catalogue,
    name: str,
    modality: ModalityConfig,
    store: Store,
    items: pl.DataFrame,
    listing: pl.DataFrame | None,
) -> ModalityFeatures:
    ids = items[ITEM_ID]
    if modality.encoder == PRECOMPUTED:
        vectors = load_precomputed(catalogue, modality, ids.to_list())
        digest = vectors.digest(ids.to_list())
        return ModalityFeatures(vectors.matrix, vectors.present, PRECOMPUTED, digest[:16], digest)
    specs = find_encoders(name, modality)
    hashes = hash_contents(catalogue, name, modality, store, items, listing)
    spec = fitting(specs, name, store, hashes)
    features = FeatureStore(store.features(name, spec.key))
    matrix, statuses = features.read(hashes)
    unknown = ids.filter(hashes.is_not_null() & statuses.is_null())
    if len(unknown):
        raise NotExtractedError(
            f"modality {name}: the content of {len(unknown)} items was never extracted, such as {unknown[0]!r}; "
            "run `microrec extract` (has the catalogue changed since?)"
        )
    return ModalityFeatures(
        matrix,
        statuses.eq_missing(OK).to_numpy() & matrix.any(axis=1),  # a vector of zeros says nothing
        spec.key,
        spec.revision,
        _digest(ids, hashes),
        tuple(features.parts_of(hashes)),
    )


def _digest(ids: pl.Series, hashes: pl.Series) -> str:
    digest = hashlib.sha256()
    for rows in pl.DataFrame([ids.alias(ITEM_ID), hashes.alias(CONTENT_HASH)]).iter_slices(AT_ONCE):
        digest.update("".join(f"{item}\t{content}\n" for item, content in rows.iter_rows()).encode())
    return digest.hexdigest()
