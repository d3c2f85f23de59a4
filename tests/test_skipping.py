"""Without Triton, the cells that need it are skipped, and no others."""

import ast
from types import SimpleNamespace

import pytest

from minimamba.course.skipping import skip_kernels

SKIPPED = "print('skipped')"


@pytest.fixture
def transformed(monkeypatch):
    """What becomes of a cell."""
    shell = SimpleNamespace(ast_transformers=[])
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    skip_kernels("tl", "stencil", "99.1")
    transformer, = shell.ast_transformers
    return lambda cell: ast.unparse(transformer.visit(ast.parse(cell)))


@pytest.mark.parametrize("cell", [
    "import triton", "import triton.language as language", "from library import stencil",
    "@triton.jit\ndef kernel(x): pass", "def f():\n    return tl.exp", "f('x', method='triton')",
    "check('99.1', f)", "[torch.ops.library.f(x) for x in range(2)]"])
def test_a_cell_that_needs_triton_is_skipped(transformed, cell):
    assert transformed(cell) == SKIPPED


def test_what_only_skipped_cells_define_is_missing_until_a_cell_defines_it(transformed):
    assert transformed("@triton.jit\ndef kernel(x): pass\nout, count = kernel(1), 2") == SKIPPED
    for cell in ("y = out + 1", "def f():\n    return kernel(0)", "assert count == 2"):
        assert transformed(cell) == SKIPPED
    for cell in ("x = 1", "lines = [(x, 'kernel') for x in range(3)]", "def g(out): return out",
                 "out = 3\nprint(out)", "out += 1"):
        assert transformed(cell) == ast.unparse(ast.parse(cell))
    assert transformed("print(y)") == SKIPPED


def test_outside_a_notebook_nothing_can_be_skipped():
    with pytest.raises(RuntimeError, match="in a cell of a notebook"):
        skip_kernels()
