"""What tests of more than one module are set up with."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    # Before anything imports triton: its kernels then run in Python, on the CPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")


if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers with two threads each, on two cores, would wait for each other.
    torch.set_num_threads(1)


@pytest.fixture
def double():
    """Parameters made in float64, from one seed: a comparison then holds to the last digits."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
