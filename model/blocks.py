"""How much of a large matrix is held at once: a block of its rows."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Block:
    """The size of a block; on a CPU it should stay in cache, on a GPU it is much larger."""

    elements: int
    """Elements of a block on a CPU."""
    few_rows: int = 32
    """At least so many rows: a product must not read its other factor for a row or two.

    docs/measurements/speed-2026-11.md has the measurement.
    """
    few_rows_elements: int = 1 << 25
    """Most elements of those few rows (128 MiB of float32)."""
    cuda_elements: int = 1 << 28
    """Elements of a block on a GPU."""

    def rows(self, num_columns: int, device: torch.device) -> int:
        """Rows of a block with so many columns, at least 1."""
        num_columns = max(1, num_columns)
        if device.type == "cuda":
            return max(1, self.cuda_elements // num_columns)
        return max(1, self.elements // num_columns, min(self.few_rows, self.few_rows_elements // num_columns))
