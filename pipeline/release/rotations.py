"""How vectors of a training come into the space of its release."""

from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load_file
from upath import UPath

from pipeline.release.rotation import rotated
from pipeline.release.sound import sound_file
from pipeline.release.space import ROTATION


@dataclass(frozen=True)
class Rotations:
    """A release's, by vector column; none of the first release of a line."""

    by_column: dict[str, np.ndarray]

    @classmethod
    def of(cls, release: UPath) -> "Rotations":
        """Read them from a release."""
        with sound_file(release, ROTATION) as file:
            return cls(load_file(file) if file else {})

    def turned(self, vector_QD: np.ndarray, column: str) -> np.ndarray:
        """Vectors of the training, float32 (Q, D), as they stand in a column of the release."""
        rotation_DD = self.by_column.get(column)
        return vector_QD if rotation_DD is None else rotated(vector_QD, rotation_DD)
