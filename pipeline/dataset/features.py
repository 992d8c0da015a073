"""The features of a catalogue: a matrix a modality, rows in the order of the items."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.encoder import EncoderSpec
from features.modality import ModalityConfig
from features.registry import find_encoder
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import read_pictures, read_texts
from pipeline.catalogue.precomputed import PRECOMPUTED, load_precomputed
from pipeline.columns import CONTENT_HASH, ITEM_ID
from pipeline.dataset.feature_store import OK, FeatureStore
from pipeline.errors import InputError
from pipeline.storage.layout import Store

AT_ONCE = 100_000


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


def load_features(
    catalogue: Catalogue, modalities: Mapping[str, ModalityConfig], store: Store, items: pl.DataFrame
) -> dict[str, ModalityFeatures]:
    """Features of all items in every modality, rows in the order of `items`; no encoder is loaded.

    Raises `InputError` when a content has not been extracted.
    """
    return {name: _load_modality(catalogue, name, modality, store, items) for name, modality in modalities.items()}


def hash_contents(
    catalogue: Catalogue, name: str, modality: ModalityConfig, spec: EncoderSpec, items: pl.DataFrame
) -> pl.DataFrame:
    """Hash, size and whereabouts of each item's content (`read_texts`, `read_pictures`)."""
    if spec.content == "text":
        return read_texts(catalogue, name, modality.columns, items)
    return read_pictures(catalogue, name, items)


def _load_modality(
    catalogue: Catalogue, name: str, modality: ModalityConfig, store: Store, items: pl.DataFrame
) -> ModalityFeatures:
    ids = items[ITEM_ID]
    if modality.encoder == PRECOMPUTED:
        vectors = load_precomputed(catalogue, modality, ids.to_list())
        digest = vectors.digest(ids.to_list())
        return ModalityFeatures(vectors.matrix, vectors.present, PRECOMPUTED, digest[:16], digest)
    spec = find_encoder(name, modality)
    hashes = hash_contents(catalogue, name, modality, spec, items)[CONTENT_HASH]
    matrix, statuses = FeatureStore(store.features(name, spec.key)).read(hashes)
    unknown = ids.filter(hashes.is_not_null() & statuses.is_null())
    if len(unknown):
        raise InputError(
            f"modality {name}: the content of {len(unknown)} items was never extracted, such as {unknown[0]!r}; "
            "run `microrec extract` (has the catalogue changed since?)"
        )
    return ModalityFeatures(matrix, (statuses.eq_missing(OK)).to_numpy(), spec.key, spec.revision, _digest(ids, hashes))


def _digest(ids: pl.Series, hashes: pl.Series) -> str:
    digest = hashlib.sha256()
    for rows in pl.DataFrame([ids.alias(ITEM_ID), hashes.alias(CONTENT_HASH)]).iter_slices(AT_ONCE):
        digest.update("".join(f"{item}\t{content}\n" for item, content in rows.iter_rows()).encode())
    return digest.hexdigest()
