"""Sparse products for propagation: CSR with 32-bit indices and a transpose prepared for the backward pass.

Shapes: R rows, B some of the rows, C columns, E edges, D dimension, I items, K neighbours.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.blocks import Block
from model.gather import runs

GATHERED = Block(1 << 19)  # for products of rows (2 MiB of float32: they stay in cache)


@dataclass(frozen=True)
class CompressedRows:
    """A sparse matrix (R, C) by rows; `matrix @ dense` is the product, without a gradient."""

    row_start: Tensor
    """int32 or int64 (R + 1,): where each row's edges begin."""
    column_E: Tensor
    """Of the same type."""
    weight_E: Tensor
    shape: tuple[int, int]

    def __matmul__(self, dense_CD: Tensor) -> Tensor:
        """Return (R, D).

        On a CPU this is the embedding lookup's weighted sum: one pass that writes each row once, where the
        CSR product also fills and copies its result first (docs/decisions/0010-speed.md).
        """
        if dense_CD.is_cuda:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
                csr = torch.sparse_csr_tensor(
                    self.row_start, self.column_E, self.weight_E, self.shape, check_invariants=False
                )
            return csr @ dense_CD
        return F.embedding_bag(
            self.column_E,
            dense_CD.detach(),
            self.row_start,
            mode="sum",
            per_sample_weights=self.weight_E,
            include_last_offset=True,
        )

    def rows(self, row_B: Tensor) -> "CompressedRows":
        """The matrix (B, C) of these rows, int64 (B,), in their order."""
        first_B = self.row_start[row_B].long()
        count_B = self.row_start[row_B + 1] - first_B
        edge_E, start = runs(first_B, count_B), row_starts(count_B, self.column_E.dtype)
        return CompressedRows(start, self.column_E[edge_E], self.weight_E[edge_E], (len(row_B), self.shape[1]))

    def transposed(self) -> "CompressedRows":
        """The transpose (C, R)."""
        column_E, order_E = self.column_E.sort(stable=True)
        row_R = torch.arange(self.shape[0], dtype=self.column_E.dtype, device=self.column_E.device)
        row_E = row_R.repeat_interleave(self.row_start.diff(), output_size=len(order_E))
        end_C = torch.arange(self.shape[1] + 1, dtype=column_E.dtype, device=column_E.device)
        start = torch.searchsorted(column_E, end_C).to(column_E.dtype)
        return CompressedRows(start, row_E[order_E], self.weight_E[order_E], (self.shape[1], self.shape[0]))


def row_starts(count_R: Tensor, dtype: torch.dtype = torch.int64) -> Tensor:
    """Where each row's edges begin, and where the last one's end, (R + 1,), from how many each has."""
    return F.pad(count_R.cumsum(0), (1, 0)).to(dtype)


def _index_dtype(num_edges: int, num_columns: int) -> torch.dtype:
    return torch.int32 if max(num_edges, num_columns) < 2**31 else torch.int64


class EdgePattern:
    """Where the non-zeros of a matrix stand, and where each goes in its transpose.

    Weights may change (learned graphs) while the pattern and its transpose are prepared once.
    """

    def __init__(self, row_E: Tensor, column_E: Tensor, shape: tuple[int, int]) -> None:
        """Take edges in any order; `edge weights` passed later follow the same order.

        Args:
            row_E, column_E: int64 (E,), 0-based.
            shape: (R, C).
        """
        dtype = _index_dtype(len(row_E), max(shape))
        self.shape = shape
        self.order_E = torch.argsort(row_E * shape[1] + column_E)
        self.row_start, self.column_E = (
            row_starts(row_E.bincount(minlength=shape[0]), dtype),
            column_E[self.order_E].to(dtype),
        )
        self.transposed_order_E = torch.argsort(column_E * shape[0] + row_E)
        self.transposed_row_start = row_starts(column_E.bincount(minlength=shape[1]), dtype)
        self.transposed_column_E = row_E[self.transposed_order_E].to(dtype)
        self.row_E, self.edge_column_E = row_E, column_E

    def matrix(self, weight_E: Tensor) -> CompressedRows:
        """Matrix (R, C) with these weights, float32 (E,)."""
        return CompressedRows(self.row_start, self.column_E, weight_E[self.order_E], self.shape)

    def transposed(self, weight_E: Tensor) -> CompressedRows:
        """Matrix (C, R) with these weights, float32 (E,)."""
        shape = (self.shape[1], self.shape[0])
        return CompressedRows(
            self.transposed_row_start, self.transposed_column_E, weight_E[self.transposed_order_E], shape
        )


class SparseMatrix:
    """A constant sparse matrix with its transpose; `matrix @ dense` has a gradient for `dense`."""

    def __init__(self, pattern: EdgePattern, weight_E: Tensor) -> None:
        self.forward = pattern.matrix(weight_E.detach())
        self.backward = pattern.transposed(weight_E.detach())

    def __matmul__(self, dense_CD: Tensor) -> Tensor:
        return constant_product(self, dense_CD)


class ConstantMatrix(Protocol):
    """What has a product, `forward @ dense`, and that of its transpose, `backward @ dense`, neither with a gradient."""

    forward: Any
    backward: Any


def constant_product(matrix: ConstantMatrix, dense_CD: Tensor) -> Tensor:
    """Product of a constant matrix (R, C) with a dense (C, D), with a gradient for the latter."""
    product: Tensor = _ConstantProduct.apply(dense_CD, matrix)
    return product


class _ConstantProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense_CD: Tensor, matrix: ConstantMatrix) -> Tensor:
        ctx.matrix = matrix
        product: Tensor = matrix.forward @ dense_CD
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RD: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.backward @ grad_RD, None


def weighted_product(pattern: EdgePattern, weight_E: Tensor, dense_CD: Tensor) -> Tensor:
    """Product of the matrix (R, C) that has `weight_E` on `pattern` with a dense (C, D).

    Differentiable in both. The gradient of an edge's weight is the inner product of the two rows it joins;
    it is computed for the edges only, in chunks.
    """
    product: Tensor = _WeightedProduct.apply(weight_E, dense_CD, pattern)
    return product


class _WeightedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_E: Tensor, dense_CD: Tensor, pattern: EdgePattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(weight_E, dense_CD)
        return pattern.matrix(weight_E) @ dense_CD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RD: Tensor) -> tuple[Tensor, Tensor, None]:
        weight_E, dense_CD = ctx.saved_tensors
        pattern: EdgePattern = ctx.pattern
        chunk = GATHERED.rows(dense_CD.shape[1], dense_CD.device)
        parts = [
            (grad_RD[row] * dense_CD[column]).sum(1)
            for row, column in zip(pattern.row_E.split(chunk), pattern.edge_column_E.split(chunk), strict=True)
        ]
        grad_E = torch.cat(parts) if parts else torch.zeros_like(weight_E)
        return grad_E, pattern.transposed(weight_E) @ grad_RD, None


def neighbour_products(dense_ID: Tensor, neighbour_IK: Tensor) -> Tensor:
    """Inner products of every row with its neighbours' rows, (I, K); differentiable, no (I, K, D) exists.

    Args:
        dense_ID: float.
        neighbour_IK: int64, rows.
    """
    product_IK: Tensor = _NeighbourProducts.apply(dense_ID, neighbour_IK)
    return product_IK


class _NeighbourProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense_ID: Tensor, neighbour_IK: Tensor) -> Tensor:
        ctx.save_for_backward(dense_ID, neighbour_IK)
        product_IK = dense_ID.new_empty(neighbour_IK.shape)
        rows = GATHERED.rows(neighbour_IK.shape[1] * dense_ID.shape[1], dense_ID.device)
        blocks = (part.split(rows) for part in (dense_ID, neighbour_IK, product_IK))
        for own_BD, neighbour_BK, product_BK in zip(*blocks, strict=True):
            near_BKD = dense_ID.index_select(0, neighbour_BK.flatten()).view(*neighbour_BK.shape, -1)
            torch.bmm(near_BKD, own_BD[:, :, None], out=product_BK[:, :, None])
        return product_IK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_IK: Tensor) -> tuple[Tensor, None]:
        dense_ID, neighbour_IK = ctx.saved_tensors
        num_rows, num_neighbours = neighbour_IK.shape
        neighbour_E, weight_E, shape = neighbour_IK.flatten(), grad_IK.flatten(), (num_rows, num_rows)
        start = torch.arange(num_rows + 1, device=dense_ID.device) * num_neighbours
        as_row_ID = CompressedRows(start, neighbour_E, weight_E, shape) @ dense_ID
        order_E = neighbour_E.argsort(stable=True)
        start = row_starts(neighbour_E.bincount(minlength=num_rows))
        as_neighbour_ID = CompressedRows(start, order_E // num_neighbours, weight_E[order_E], shape) @ dense_ID
        return as_row_ID.add_(as_neighbour_ID), None
