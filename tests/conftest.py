"""What tests of more than one module are set up with."""

import pytest
import torch


@pytest.fixture
def double():
    """Parameters made in float64, from one seed: a comparison then holds to the last digits."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
