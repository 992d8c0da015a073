"""Vectors that somebody else made, wherever they lie."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.precomputed import Precomputed, read_precomputed
from pipeline.storage import local_copy, require_reachable

if TYPE_CHECKING:
    from pipeline.config import Config

PRECOMPUTED = "precomputed"
"""The encoder's name in the configuration."""


def load_precomputed(config: "Config", modality: ModalityConfig) -> Precomputed:
    """Read the vectors of a `precomputed` modality; those in an object store are fetched first.

    Raises:
        FeatureError: as `features.precomputed.read_precomputed`, under the names that the configuration gives.
        InputError: a store that cannot be reached.
    """
    places = [config.path(location) for location in (modality.vectors, modality.ids) if location]
    with ExitStack() as stack:
        for path in places:
            require_reachable(path, "modalities: precomputed vectors")
        files = [stack.enter_context(local_copy(path)) for path in places]
        try:
            return read_precomputed(files[0], files[1] if len(files) > 1 else None)
        except FeatureError as error:
            message = str(error)
            for file, path in zip(files, places, strict=True):
                message = message.replace(str(file), str(path))
            raise FeatureError(message) from error
