import torch

from trainer.models.eigen import largest_eigenvectors


def test_the_largest_eigenvectors_are_those_of_all_of_them():
    rows = torch.randn(40, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = rows.T @ rows
    expected = torch.linalg.eigh(matrix).eigenvectors.flip(1)[:, :5]
    found = largest_eigenvectors(matrix.clone(), 5)
    signs = (found * expected).sum(0).sign()  # of an eigenvector nothing says which
    torch.testing.assert_close(found * signs, expected)


def test_all_and_none_of_them():
    matrix = torch.diag(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64))
    assert largest_eigenvectors(matrix.clone(), 3).abs().argmax(0).tolist() == [1, 2, 0]
    assert largest_eigenvectors(matrix.clone(), 0).shape == (3, 0)
    assert largest_eigenvectors(matrix[:0, :0], 0).shape == (0, 0)
