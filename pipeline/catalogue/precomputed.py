"""Precomputed vectors (`encoder = "precomputed"`) of a catalogue's items, wherever their file is."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.precomputed import ROWS, Ids, Precomputed, read_precomputed
from pipeline.catalogue.catalogue import Catalogue
from pipeline.storage.files import local_copy, require_reachable

PRECOMPUTED = "precomputed"
"""The encoder's name in the configuration."""


def load_precomputed(catalogue: Catalogue, modality: ModalityConfig, item_ids: Sequence[Any]) -> Precomputed:
    """Read the vectors of the items, rows in their order; what is in an object store is fetched first.

    Raises:
        FeatureError: as `read_precomputed`, under the names that the configuration gives.
        InputError: a store that cannot be reached.
    """
    locations = [modality.vectors, *([modality.ids] if modality.ids not in ("", ROWS) else [])]
    places = [catalogue.path(location) for location in locations]
    with ExitStack() as copies:
        for path in places:
            require_reachable(path, "modalities: precomputed vectors")
        files = [copies.enter_context(local_copy(path)) for path in places]
        ids: Ids = ROWS if modality.ids == ROWS else files[1] if len(files) > 1 else None
        try:
            return read_precomputed(files[0], ids, item_ids)
        except FeatureError as error:
            message = str(error)
            for file, path in zip(files, places, strict=True):
                message = message.replace(str(file), str(path))
            raise FeatureError(message) from error
