import torch

from model.normalisation import normalise_edges
from model.sparse import EdgePattern, SparseMatrix, weighted_product

ROW = torch.tensor([2, 0, 1, 0, 2, 3])
COLUMN = torch.tensor([1, 0, 2, 2, 0, 3])


def dense_of(weight):
    matrix = torch.zeros(5, 4, dtype=weight.dtype)
    return matrix.index_put((ROW, COLUMN), weight)


def test_sparse_matrix_product_and_gradient_equal_dense():
    weight, dense = torch.rand(6), torch.rand(4, 3, requires_grad=True)
    target = torch.rand(5, 3)
    product = SparseMatrix(EdgePattern(ROW, COLUMN, (5, 4)), weight) @ dense
    (product * target).sum().backward()
    torch.testing.assert_close(product, dense_of(weight) @ dense)
    torch.testing.assert_close(dense.grad, dense_of(weight).T @ target)


def test_weighted_product_gradients_equal_finite_differences():
    weight = torch.rand(6, dtype=torch.float64, requires_grad=True)
    dense = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    pattern = EdgePattern(ROW, COLUMN, (5, 4))
    assert torch.autograd.gradcheck(lambda w, d: weighted_product(pattern, w, d), (weight, dense))
    torch.testing.assert_close(weighted_product(pattern, weight, dense), dense_of(weight) @ dense)


def test_normalise_edges_symmetric_and_row_equal_hand_computed():
    row, column, weight = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), torch.tensor([1.0, 3.0, 4.0])
    symmetric = normalise_edges(row, column, weight, 3, "symmetric")
    torch.testing.assert_close(symmetric, torch.tensor([1 / 4, 3 / 4, 4 / 4]))
    torch.testing.assert_close(normalise_edges(row, column, weight, 3, "row"), torch.tensor([1 / 4, 3 / 4, 1.0]))


def test_normalise_edges_zero_degree_gives_zero():
    weight = normalise_edges(torch.tensor([0]), torch.tensor([1]), torch.tensor([2.0]), 2)
    assert weight.tolist() == [0.0]


def test_rows_and_transpose_of_a_matrix_equal_dense():
    weight, dense = torch.rand(6), torch.rand(4, 3)
    rows = EdgePattern(ROW, COLUMN, (5, 4)).matrix(weight).rows(torch.tensor([4, 2, 0]))
    torch.testing.assert_close(rows @ dense, dense_of(weight)[[4, 2, 0]] @ dense)
    torch.testing.assert_close(rows.transposed() @ dense[:3], dense_of(weight)[[4, 2, 0]].T @ dense[:3])
