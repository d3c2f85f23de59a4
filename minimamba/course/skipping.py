"""Skip the cells of a notebook that need Triton where there is none; the others still run."""

import ast
import symtable
from collections.abc import Iterator

WHY = ("There is no Triton here, so cells that need it are skipped. It exists for Linux; the "
       "README says more.")


def skip_kernels(*names: str) -> None:
    """Print that there is no Triton, and skip each later cell that needs it.

    That is a cell that imports Triton, asks for the method "triton", calls an operator of
    `torch.ops` (here they are kernels), or uses what only skipped cells would have defined.

    Args:
        names: what else needs Triton: names that a cell uses or imports, and strings in it.

    Raises:
        RuntimeError: outside a notebook, where there are no cells.
    """
    from IPython import get_ipython  # only here, since the library needs no notebook

    shell = get_ipython()
    if shell is None:
        raise RuntimeError("skip_kernels: expected to run in a cell of a notebook")
    shell.ast_transformers.append(_Skipping("triton", *names))
    print(WHY)


class _Skipping:
    """Looks at each cell before it runs, as IPython's `ast_transformers` do."""

    def __init__(self, *needing: str) -> None:
        self.needing = frozenset(needing)
        self.undefined = set(needing)

    def visit(self, cell: ast.Module) -> ast.Module:
        top = symtable.symtable(ast.unparse(cell), "cell", "exec")
        defined = {symbol.get_name() for symbol in top.get_symbols()
                   if symbol.is_assigned() or symbol.is_imported()}
        used = set(_globals(top)) - defined
        if self.undefined.isdisjoint(used) and self.needing.isdisjoint(_mentioned(cell)):
            self.undefined -= defined
            return cell
        self.undefined |= defined
        return ast.parse("print('skipped')")


def _mentioned(cell: ast.Module) -> Iterator[str]:
    """What a cell imports, its strings, and "triton" for an operator of torch.ops."""
    for node in ast.walk(cell):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.ops":
            yield "triton"


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a cell, or a function in it, reads and that are no function's own."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)
