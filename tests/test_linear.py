"""The product as it is written out for a compiled step on a CPU: the same as the library's."""

import pytest
import torch
from systems import close, randn

from minimamba.ops.linear import _blocks, linear

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("outputs", [3, 512, 521, 768])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_the_library_s_product(outputs, batch, biased):
    torch.compiler.reset()
    x, weight, bias = randn(batch, 7), randn(outputs, 7), randn(outputs) if biased else None
    x.requires_grad_()
    wanted = torch.nn.functional.linear(x, weight, bias)
    y = torch.compile(linear, backend="eager", fullgraph=True)(x, weight, bias)
    close(y, wanted)
    given = randn(batch, outputs)
    close(*(torch.autograd.grad(found, x, given)[0] for found in (y, wanted)))


def test_a_matrix_is_cut_into_as_many_equal_blocks_as_are_large_enough():
    assert [_blocks(rows) for rows in (1, 80, 511, 512, 521, 768, 1536, 50_280)] == [
        1, 1, 1, 2, 1, 3, 6, 120]
