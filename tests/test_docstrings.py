"""Docstrings: everything public has one, arguments are documented by name, examples run."""

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "minimamba"
SPINE = ("arguments", "shapes", "continuous", "discretize", "lti", "s4", "scan", "ssd", "ops",
         "compat", "nn", "config", "lm", "generation", "files", "layouts",
         "checkpoint", "training")
"""Where every argument is documented: these modules, or all modules of these packages."""
WITH_EXAMPLE = [
    ("minimamba.scan", "selective_scan"), ("minimamba.compat", "selective_scan_fn"),
    ("minimamba.ssd", "ssd"), ("minimamba.ssd.compat", "mamba_chunk_scan_combined"),
    ("minimamba.scan.associative", "scan"), ("minimamba.continuous", "simulate"),
    ("minimamba.discretize", "zoh"), ("minimamba.lti", "kernel"), ("minimamba.s4.layers", "S4D"),
    ("minimamba.nn.s6", "S6"), ("minimamba.nn.mamba", "Mamba"),
    ("minimamba.nn.mamba2", "Mamba2"), ("minimamba.lm", "MambaLM"),
    ("minimamba.config", "MambaConfig"), ("minimamba.generation", "generate"),
    ("minimamba.training", "train_steps")]
"""The main entry points: their docstrings must have an example."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Documented(NamedTuple):
    """A public class, function or method."""

    name: str
    node: Definition
    owner: ast.ClassDef | None
    """The class of a method."""

    @property
    def decorators(self) -> set[str]:
        """The last part of each decorator's name: "jit" for @triton.jit and @triton.jit(...)."""
        return {re.sub(r"\(.*", "", ast.unparse(d), flags=re.DOTALL).rpartition(".")[2]
                for d in self.node.decorator_list}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))
           if not re.search(r"\b_(?!_init__)", str(path.relative_to(PACKAGE)))}
every_module = pytest.mark.parametrize("module", MODULES)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def public(module: str) -> Iterator[Documented]:
    """All public definitions of a module, methods included.

    Overloads and setters are left out, and so are the methods of an autograd.Function, which
    PyTorch alone calls.
    """
    def visit(body: list[ast.stmt], owner: ast.ClassDef | None) -> Iterator[Documented]:
        for node in body:
            if isinstance(node, Definition) and not node.name.startswith("_"):
                name = f"{owner.name}.{node.name}" if owner else node.name
                found = Documented(name, node, owner)
                if not found.decorators & {"overload", "setter"} and not is_autograd(owner):
                    yield found
                if isinstance(node, ast.ClassDef):
                    yield from visit(node.body, node)

    yield from visit(tree(module).body, None)


def is_autograd(owner: ast.ClassDef | None) -> bool:
    return owner is not None and any("autograd" in ast.unparse(base) for base in owner.bases)


def parameters(documented: Documented) -> list[str]:
    """The parameters that a docstring should describe; those of a class are its __init__'s."""
    node = documented.node
    if isinstance(node, ast.ClassDef):
        node = next((n for n in node.body
                     if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if node is None:
            return []
    bound = node is not documented.node or (
        documented.owner and "staticmethod" not in documented.decorators)
    positional = [*node.args.posonlyargs, *node.args.args][1 if bound else 0:]
    variadic = [a for a in (node.args.vararg, node.args.kwarg) if a]
    return [a.arg for a in (*positional, *node.args.kwonlyargs, *variadic)]


def docstrings(documented: Documented) -> Iterator[str]:
    """The docstring, and for a class its __init__'s too."""
    yield ast.get_docstring(documented.node) or ""
    if isinstance(documented.node, ast.ClassDef):
        yield from (ast.get_docstring(n) or "" for n in documented.node.body
                    if isinstance(n, ast.FunctionDef) and n.name == "__init__")


def described(docstring: str) -> set[str]:
    """The names with an entry of their own, "name: ...", in the section "Args:"."""
    section = re.search(r"^Args:\n((?:(?: {4}.*)?\n)+)", docstring + "\n", re.MULTILINE)
    return set(re.findall(r"^ {4}\*{0,2}(\w+):", section[1], re.MULTILINE)) if section else set()


def takes_arguments_apart(documented: Documented) -> bool:
    """Whether a function must document each argument: not a kernel, whose module documents its
    tensors once, and not a method of a Protocol."""
    is_protocol = documented.owner and any(
        ast.unparse(base).startswith("Protocol") for base in documented.owner.bases)
    return not is_protocol and "jit" not in documented.decorators


@every_module
def test_everything_public_has_a_docstring_that_stands_alone(module):
    texts = {"the module": ast.get_docstring(tree(module))}
    texts |= {found.name: ast.get_docstring(found.node) for found in public(module)}
    missing = [name for name, text in texts.items() if not text]
    dependent = [f"{name}: {text.splitlines()[0]}" for name, text in texts.items()
                 if text and re.match(r"(The same|As |And back)", text)]
    if missing:
        pytest.fail(f"without a docstring: {', '.join(missing)}", pytrace=False)
    if dependent:
        pytest.fail("first sentences that need another one:\n" + "\n".join(dependent),
                    pytrace=False)


@pytest.mark.parametrize("module", [m for m in MODULES if f"{m}.".split(".")[1] in SPINE])
def test_every_argument_is_documented_by_name(module):
    gaps = {}
    for found in filter(takes_arguments_apart, public(module)):
        names = set().union(*map(described, docstrings(found)))
        if absent := [name for name in parameters(found) if name not in names]:
            gaps[found.name] = absent
    if gaps:
        pytest.fail("not under Args:\n" + "\n".join(
            f"{name}: {', '.join(absent)}" for name, absent in gaps.items()), pytrace=False)


def import_or_skip(module: str) -> object:
    """Import a module; skip the test if it is one of kernels and there is no Triton."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name == "triton":
            pytest.skip("triton is not installed")
        raise


@every_module
def test_examples_in_docstrings_run(module):
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    for example in doctest.DocTestFinder().find(import_or_skip(module), module):
        runner.run(example, out=report.append)
    if runner.failures:
        pytest.fail("".join(report), pytrace=False)


@pytest.mark.parametrize(("module", "function"), WITH_EXAMPLE)
def test_main_entry_point_has_an_example(module, function):
    found = {documented.name: documented for documented in public(module)}[function]
    assert doctest.DocTestParser().get_examples(ast.get_docstring(found.node))
