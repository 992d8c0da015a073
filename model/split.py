"""How a tensor is split over the processes that train together (`model.parallel`)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Split:
    """Where a tensor's columns stand: along `dim`, in `blocks` groups of D one after the other."""

    dim: int
    blocks: int = 1


class SplitParameter(nn.Parameter):
    """A parameter of which every process has its own part; a copy is one, too."""

    part_of_whole: Split

    def __new__(cls, own: Tensor, part_of_whole: Split) -> "SplitParameter":
        """Args: this process's part; where its columns stand."""
        parameter: SplitParameter = super().__new__(cls, own)
        parameter.part_of_whole = part_of_whole
        return parameter

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickled, it stays what it is."""
        return type(self), (self.data, self.part_of_whole)

    def __deepcopy__(self, memo: dict[int, Any]) -> "SplitParameter":
        copied = type(self)(self.data.clone(), self.part_of_whole)
        copied.requires_grad = self.requires_grad
        memo[id(self)] = copied
        return copied


def split_of(parameter: Tensor) -> Split | None:
    """How a parameter is split; None: every process has all of it."""
    return parameter.part_of_whole if isinstance(parameter, SplitParameter) else None
