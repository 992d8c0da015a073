"""Precomputed vectors (`encoder = "precomputed"`) of a catalogue's items, wherever their file is."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.precomputed import ROWS, Ids, Precomputed, read_precomputed
from pipeline.storage import is_local, local_copy

if TYPE_CHECKING:
    from pipeline.config import Config

PRECOMPUTED = "precomputed"
"""The name of the encoder."""


def load_precomputed(config: "Config", modality: ModalityConfig, item_ids: Sequence[Any]) -> Precomputed:
    """Read the vectors of the items, rows in their order.

    Raises `FeatureError` as `read_precomputed` does, and for a folder in an object store.
    """
    vectors = config.path(modality.vectors)
    if not is_local(vectors) and not vectors.is_file():
        raise FeatureError(f"precomputed vectors: {vectors} is no file; from an object store a single file is read")
    with ExitStack() as copies:
        ids: Ids = None
        if modality.ids:
            ids = ROWS if modality.ids == ROWS else copies.enter_context(local_copy(config.path(modality.ids)))
        return read_precomputed(copies.enter_context(local_copy(vectors)), ids, item_ids)
