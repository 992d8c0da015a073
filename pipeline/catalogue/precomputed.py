"""Precomputed vectors (`encoder = "precomputed"`) of a catalogue's items, wherever their file is."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from upath import UPath

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.precomputed import ROWS, Ids, Precomputed, read_precomputed
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.locations import find_files
from pipeline.storage.files import local_copy, require_reachable

PRECOMPUTED = "precomputed"
"""The encoder's name in the configuration."""
ENDINGS = (".parquet", ".npy", ".b")
"""Of the files that count where a location is a folder or a glob."""


def load_precomputed(catalogue: Catalogue, modality: ModalityConfig, item_ids: Sequence[Any]) -> Precomputed:
    """Read the vectors of the items, rows in their order; what is in an object store is fetched first.

    Raises:
        FeatureError: as `read_precomputed`, under the names that the configuration gives.
        InputError: a store that cannot be reached, a location that stands for no file.
    """
    places = _vector_files(catalogue.path(modality.vectors))
    ids_place = None if modality.ids in ("", ROWS) else catalogue.path(modality.ids)
    if ids_place:
        require_reachable(ids_place, "modalities: precomputed vectors")
        places.append(ids_place)
    with ExitStack() as copies:
        files = [copies.enter_context(local_copy(path)) for path in places]
        ids: Ids = ROWS if modality.ids == ROWS else files[-1] if ids_place else None
        try:
            return read_precomputed(files[:-1] if ids_place else files, ids, item_ids)
        except FeatureError as error:
            message = str(error)
            for file, path in zip(files, places, strict=True):
                message = message.replace(str(file), str(path))
            raise FeatureError(message) from error


def _vector_files(path: UPath) -> list[UPath]:
    """The files of vectors that a location stands for; a part that holds nothing is passed over."""
    found = find_files(path, ENDINGS)
    filled = [file for file in found if file.stat().st_size]
    return filled or found
