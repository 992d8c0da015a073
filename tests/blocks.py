"""What a computation holds at once: bounds on allocation are tested, never seconds."""

from dataclasses import dataclass, field

from torch import Tensor

from model.parallel import Columns


@dataclass(frozen=True)
class RecordingColumns(Columns):
    """All columns, and the sizes of the blocks of scores that were summed over them."""

    blocks: list[int] = field(default_factory=list)

    def total(self, partial: Tensor) -> Tensor:
        if partial.dim() == 2:
            self.blocks.append(partial.numel())
        return partial
