"""`linear`, written out for a compiled step on a CPU, against PyTorch's own."""

import pytest
import torch
from systems import close, randn

from minimamba.ops.linear import _block_count, linear

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("outputs", [3, 512, 521, 768])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("has_bias", [False, True])
def test_compiled_linear_matches_pytorch_in_output_and_gradient(outputs, batch, has_bias):
    torch.compiler.reset()
    x = randn(batch, 7).requires_grad_()
    weight = randn(outputs, 7)
    bias = randn(outputs) if has_bias else None
    expected = torch.nn.functional.linear(x, weight, bias)
    y = torch.compile(linear, backend="eager", fullgraph=True)(x, weight, bias)
    close(y, expected)
    dy = randn(batch, outputs)
    close(*(torch.autograd.grad(output, x, dy)[0] for output in (y, expected)))


def test_weight_is_cut_into_the_most_equal_blocks_of_256_rows_or_more():
    assert [_block_count(rows) for rows in (1, 80, 511, 512, 521, 768, 1536, 50_280)] == [
        1, 1, 1, 2, 1, 3, 6, 120]
