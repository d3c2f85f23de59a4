"""Random systems and signals for the tests, each a function of its seed."""

import numpy as np
import torch
from torch import Tensor

F64, C128 = torch.float64, torch.complex128


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    """Normal numbers; complex if dtype is."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> Tensor:
    """Uniform numbers between low and high, float64."""
    numbers = torch.rand(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * numbers


def stable_diagonal(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    """A diagonal A whose entries have real parts between -2 and -0.1."""
    decay = -uniform(0.1, 2, *shape, seed=seed)
    return decay + 2j * randn(*shape, seed=seed + 1) if dtype.is_complex else decay


def stable_dense(N: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    """A random dense A, shifted so that its slowest mode decays at rate 0.3."""
    A = randn(N, N, seed=seed, dtype=dtype)
    return A - (torch.linalg.eigvals(A).real.max() + 0.3) * torch.eye(N, dtype=dtype)


def stable_system(form: str, N: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(A, B, C) with A "dense", "diagonal" or "complex" (diagonal)."""
    dtype = C128 if form == "complex" else F64
    A = stable_dense(N, seed) if form == "dense" else stable_diagonal(N, seed=seed, dtype=dtype)
    return A, randn(N, seed=seed + 10, dtype=dtype), randn(N, seed=seed + 11, dtype=dtype)


def as_matrix(A: Tensor) -> np.ndarray:
    """A as a dense matrix in numpy, whether it is diagonal or dense."""
    return (torch.diag(A) if A.ndim == 1 else A).numpy()


def leaves(*tensors: Tensor) -> list[Tensor]:
    """Copies that require a gradient."""
    return [t.detach().clone().requires_grad_() for t in tensors]


def close(given: Tensor | np.ndarray, wanted: Tensor | np.ndarray, *, rtol: float = 1e-10,
          atol: float = 1e-12) -> None:
    """Assert equality in shape and, within the tolerance, in value."""
    given, wanted = (np.asarray(a.detach() if isinstance(a, Tensor) else a)
                     for a in (given, wanted))
    assert given.shape == wanted.shape
    np.testing.assert_allclose(given, wanted, rtol=rtol, atol=atol)
