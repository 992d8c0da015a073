"""Training over several processes, each with all nodes but only some columns of every embedding.

Propagation acts on every column alone, so sparse products need nothing from the other processes. What joins columns -
inner products, norms, attention logits - is a sum over the processes, and every process then computes the same loss.
Two rules give the right gradients (Megatron-LM's conjugate operators, arXiv:1909.08053, section 3):

- what is summed and then used alike everywhere goes through `total`: its gradient is the same on every process;
- what is alike everywhere and then used by each process's columns goes through `shared`: its gradient is the sum over
  the processes.

docs/decisions/0014-dimension-parallel.md says what is sent, and how much.
Shapes: R rows, D all columns, J = D / processes own columns, C rows of a chunk.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from model.split import Split, SplitParameter

DRAWN_ELEMENTS = 1 << 22  # random numbers drawn at once, for all columns (16 MiB of float32)
SENT_ELEMENTS = 1 << 22  # of a linear layer's output, summed at once
SMALLEST_NORM = 1e-12  # a row that is shorter has no direction

Made = TypeVar("Made")


@dataclass(frozen=True)
class Columns:
    """The columns that this process has; with one process all of them, and nothing is ever sent."""

    rank: int = 0
    count: int = 1
    """Processes."""

    @classmethod
    def joined(cls) -> "Columns":
        """The columns of this process in torch's process group, if there is one."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def width(self, dim: int) -> int:
        """J; raises `ValueError` where D cannot be split evenly."""
        if dim % self.count:
            raise ValueError(
                f"model.embedding_dim {dim} cannot be split over {self.count} processes; set train.processes to one of "
                f"{[count for count in range(1, dim + 1) if dim % count == 0]}"
            )
        return dim // self.count

    def own(self, whole: Tensor, split: Split | None) -> Tensor:
        """Own columns of a tensor that has all of them; without a split, all of it."""
        if self.count == 1 or split is None:
            return whole
        by_process = whole.unflatten(split.dim, (split.blocks, self.count, -1))
        own: Tensor = by_process.select(split.dim + 1, self.rank).flatten(split.dim, split.dim + 1)
        return own

    def whole_shape(self, own: Tensor, split: Split | None) -> tuple[int, ...]:
        """Shape of the tensor that has all columns of which `own` has some."""
        split_dim = None if split is None else split.dim
        return tuple(size * (self.count if dim == split_dim else 1) for dim, size in enumerate(own.shape))

    def total(self, partial: Tensor) -> Tensor:
        """Sum over the processes of a tensor that is used alike on each."""
        summed: Tensor = partial if self.count == 1 else _Total.apply(partial)
        return summed

    def shared(self, same: Tensor) -> Tensor:
        """The tensor itself, for use on own columns; its gradient is summed over the processes."""
        passed: Tensor = same if self.count == 1 else _Shared.apply(same)
        return passed

    def unit_rows(self, row_RJ: Tensor) -> Tensor:
        """Own columns of the rows divided by their length over all columns.

        A row shorter than `SMALLEST_NORM` becomes zero and has no gradient: at zero a direction has no derivative, and
        dividing by the smallest length instead has the slope 1e12 (docs/decisions/0044-numerics.md).
        """
        if self.count == 1:
            length_R1 = torch.linalg.vector_norm(row_RJ, dim=1, keepdim=True)
            return row_RJ / torch.where(length_R1 > SMALLEST_NORM, length_R1, torch.inf)
        square_R1 = self.shared(self.total(row_RJ.square().sum(1, keepdim=True)))
        return row_RJ / torch.where(square_R1 > SMALLEST_NORM**2, square_R1, torch.inf).sqrt()

    def largest(self, value: Tensor) -> Tensor:
        """The largest over the processes, entry by entry, without a gradient; none may be NaN."""
        if self.count > 1:
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return value

    def projection(self, layer: nn.Linear) -> nn.Linear:
        """The part of a linear layer, initialised, that gives own columns from features that every process has."""
        if self.count > 1:
            layer.out_features = self.width(layer.out_features)
            layer.weight, layer.bias = (
                SplitParameter(self.own(whole.detach(), Split(0)).clone(), Split(0))
                for whole in (layer.weight, layer.bias)
            )
        return layer

    def whole(self, own_RJ: Tensor) -> Tensor:
        """All columns (R, D) on every process, without a gradient."""
        if self.count == 1:
            return own_RJ
        by_process = own_RJ.new_empty(self.count * len(own_RJ), own_RJ.shape[1])
        dist.all_gather_into_tensor(by_process, own_RJ.contiguous())
        whole_RD: Tensor = by_process.unflatten(0, (self.count, -1)).transpose(0, 1).flatten(1)
        return whole_RD

    def moments(self, own_RJ: Tensor) -> Tensor:
        """Second moments (D, D) of all columns on every process: the sum over the rows of x x^T."""
        moment_DD: Tensor = _Moments.apply(own_RJ, self)
        return moment_DD

    def linear(self, layer: nn.Linear, blocks: int = 1) -> nn.Module:
        """A linear layer's part: from own columns to own columns, or to the whole of a single output.

        Args:
            layer: with all its weights, initialised.
            blocks: groups of D columns that its input consists of.
        """
        return layer if self.count == 1 else _SplitLinear(layer, blocks, self)

    def draw(self, num_rows: int, dim: int, fill: Callable[[Tensor], object], device: torch.device) -> Tensor:
        """Own columns of random numbers (R, J), the same ones for any number of processes.

        Args:
            fill: draws in place, for all columns of some rows, from a generator that stands alike everywhere.
        """
        own_RJ = torch.empty(num_rows, self.width(dim), device=device)
        for own_CJ in own_RJ.split(max(1, DRAWN_ELEMENTS // dim)):
            block_CD = torch.empty(len(own_CJ), dim, device=device)
            fill(block_CD)
            own_CJ.copy_(self.own(block_CD, Split(1)))
        return own_RJ

    def xavier_uniform(self, num_rows: int, dim: int, generator: Generator, device: torch.device) -> SplitParameter:
        """A parameter (R, J), drawn as `nn.init.xavier_uniform_` draws (R, D)."""
        bound = math.sqrt(3.0) * math.sqrt(2.0 / float(num_rows + dim))
        drawn = self.draw(num_rows, dim, lambda block: block.uniform_(-bound, bound, generator=generator), device)
        return SplitParameter(drawn, Split(1))

    def same(self, tensor: Tensor) -> Tensor:
        """The first process's tensor, on every process that has one of its shape and type."""
        if self.count > 1:
            tensor = tensor.contiguous()
            dist.broadcast(tensor, src=0)
        return tensor

    # What follows moves whole tensors: on the CPU, between epochs.

    def first(self, make: Callable[[], Made]) -> Made:
        """What the first process makes, on every process; must be small and picklable."""
        if self.count == 1:
            return make()
        box: list[Any] = [make() if self.is_first else None]
        dist.broadcast_object_list(box, src=0)
        made: Made = box[0]
        return made

    def gather(self, own: Tensor, split: Split | None) -> Tensor:
        """The whole tensor on the first process, own columns on the others; without a split, what each has."""
        own = own.detach().cpu().contiguous()
        if self.count == 1 or split is None:
            return own
        parts = [torch.empty_like(own) for _ in range(self.count)] if self.is_first else None
        dist.gather(own, parts, dst=0)
        if parts is None:
            return own
        blocks = [part.unflatten(split.dim, (split.blocks, -1)) for part in parts]
        return torch.cat(blocks, dim=split.dim + 1).flatten(split.dim, split.dim + 1)

    def scatter(
        self, whole: Mapping[str, Tensor] | None, split_of: Callable[[str], Split | None]
    ) -> Mapping[str, Tensor]:
        """Own parts of tensors on the CPU that only the first process has; the inverse of `gather`."""
        if self.count == 1:
            return whole or {}
        layout = self.first(lambda: {name: (value.shape, value.dtype) for name, value in (whole or {}).items()})
        source, own = whole or {}, {}
        for name, (shape, dtype) in layout.items():
            split = split_of(name)
            own[name] = torch.empty(self.own(torch.empty(shape, device="meta"), split).shape, dtype=dtype)
            ranks = range(self.count) if self.is_first else ()
            parts = [replace(self, rank=rank).own(source[name], split).contiguous() for rank in ranks]
            dist.scatter(own[name], parts or None, src=0)
        return own


WHOLE = Columns()


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, partial: Tensor) -> Tensor:
        summed = partial.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, same: Tensor) -> Tensor:
        return same.view_as(same)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        summed = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed


class _SplitLinear(nn.Module):
    """The rows of W x + b that are own columns, or, for a single output, all of it; parameters named as nn.Linear's."""

    def __init__(self, layer: nn.Linear, blocks: int, columns: Columns) -> None:
        super().__init__()
        self.columns, self.is_split = columns, layer.out_features > 1
        split = Split(1, blocks)
        self.weight = SplitParameter(columns.own(layer.weight.detach(), split).clone(), split)
        has_bias = layer.bias is not None
        self.bias = SplitParameter(columns.own(layer.bias.detach(), Split(0)).clone(), Split(0)) if has_bias else None

    def forward(self, input_RJ: Tensor) -> Tensor:
        if not self.is_split:
            return self.columns.total(F.linear(input_RJ, self.weight))
        output_RJ: Tensor = _SummedProduct.apply(input_RJ.flatten(0, -2), self.weight, self.columns)
        output_RJ = output_RJ.unflatten(0, input_RJ.shape[:-1])
        return output_RJ if self.bias is None else output_RJ + self.bias


class _SummedProduct(torch.autograd.Function):
    """x W^T summed over the processes, each keeping its own columns; no more than a chunk has all of them at once."""

    @staticmethod
    def forward(ctx: Any, input_RJ: Tensor, weight: Tensor, columns: Columns) -> Tensor:
        ctx.columns = columns
        ctx.save_for_backward(input_RJ, weight)
        output_RJ = input_RJ.new_empty(len(input_RJ), columns.width(len(weight)))
        chunk = max(1, SENT_ELEMENTS // len(weight))
        for input_CJ, output_CJ in zip(input_RJ.split(chunk), output_RJ.split(chunk), strict=True):
            partial_CD = input_CJ @ weight.T
            by_process = partial_CD.unflatten(1, (columns.count, -1)).transpose(0, 1).flatten(0, 1).contiguous()
            dist.reduce_scatter_tensor(output_CJ, by_process)
        return output_RJ

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RJ: Tensor) -> tuple[Tensor, Tensor, None]:
        input_RJ, weight = ctx.saved_tensors
        input_grad_RJ, weight_grad = torch.empty_like(input_RJ), torch.zeros_like(weight)
        chunk = max(1, SENT_ELEMENTS // len(weight))
        parts = zip(input_RJ.split(chunk), grad_RJ.split(chunk), input_grad_RJ.split(chunk), strict=True)
        for input_CJ, grad_CJ, input_grad_CJ in parts:
            grad_CD = ctx.columns.whole(grad_CJ)
            torch.mm(grad_CD, weight, out=input_grad_CJ)
            weight_grad.addmm_(grad_CD.T, input_CJ)
        return input_grad_RJ, weight_grad, None


class _Moments(torch.autograd.Function):
    """X^T X; no more than a chunk of rows has all columns at once."""

    @staticmethod
    def forward(ctx: Any, own_RJ: Tensor, columns: Columns) -> Tensor:
        ctx.columns = columns
        ctx.save_for_backward(own_RJ)
        dim = own_RJ.shape[1] * columns.count
        moment_DD = own_RJ.new_zeros(dim, dim)
        for own_CJ in own_RJ.split(max(1, SENT_ELEMENTS // dim)):
            row_CD = columns.whole(own_CJ)
            moment_DD.addmm_(row_CD.T, row_CD)
        return moment_DD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_DD: Tensor) -> tuple[Tensor, None]:
        (own_RJ,) = ctx.saved_tensors
        own_DJ = ctx.columns.own(grad_DD + grad_DD.T, Split(1))
        grad_RJ, chunk = torch.empty_like(own_RJ), max(1, SENT_ELEMENTS // len(grad_DD))
        for own_CJ, grad_CJ in zip(own_RJ.split(chunk), grad_RJ.split(chunk), strict=True):
            torch.mm(ctx.columns.whole(own_CJ), own_DJ, out=grad_CJ)
        return grad_RJ, None
