"""The API reference: a page per public module, from its docstrings.

griffe reads the source and its Google-style docstrings and imports nothing; `api.html` lays out
what it found.
"""

import re
from pathlib import Path

import griffe
import prose
from cells import highlighted
from docstrings import (
    contents,
    declarations,
    docstring,
    keep_indentation,
    modules,
    section,
    summary,
    wrapped,
)
from jinja2 import Environment
from markupsafe import Markup

NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?", re.S)


class Reference:
    """The public modules of a package, and the address of everything that has a docstring."""

    def __init__(self, package: Path) -> None:
        self.package = griffe.load(
            package, search_paths=[package.parent], allow_inspection=False,
            docstring_parser="google",
            docstring_options={"returns_multiple_items": False, "returns_named_value": False,
                               "warn_missing_types": False})
        self.modules = sorted(modules(self.package), key=lambda module: (
            module.path.startswith(f"{package.name}.course"), module.path))
        self.urls = {}
        """The address of each module and object by its path, such as "minimamba.scan.methods"."""
        for module in self.modules:
            keep_indentation(module)
            self.urls[module.path] = f"api/{self.short(module.path) or 'index'}.html"
            for thing in contents(module):
                keep_indentation(thing)
                name = thing.path.removeprefix(f"{module.path}.")
                self.urls[thing.path] = f"{self.urls[module.path]}#{name}"

    def short(self, path: str) -> str:
        """A path without the package's own name."""
        return path.removeprefix(self.package.path).removeprefix(".")

    def exported(self, module: griffe.Module, name: str) -> griffe.Object | griffe.Alias:
        """What a module exports under a name.

        A function may have taken the name of its own module, as `ssd` does; griffe's members have
        the module.
        """
        member = module.members[name]
        hidden = module.imports.get(name) == f"{member.path}.{name}"
        return member.members[name] if hidden else member

    def find(self, code: str, scope: str = "") -> str | None:
        """The address of what a piece of code names or calls, or None.

        Args:
            code: such as "selective_scan", "lti.kernel(A, B, C, 8)" or "minimamba.scan".
            scope: the path of a module, whose own names count too.
        """
        match = NAME.fullmatch(code)
        if match is None or code == self.package.path:
            return None
        name = match.group(1)
        inside = self.urls.get(f"{scope}.{name}") if scope else None
        exported, _, rest = name.removeprefix(f"{self.package.path}.").partition(".")
        if exported in (self.package.exports or ()):
            name = self.exported(self.package, exported).canonical_path + (rest and f".{rest}")
        elif "." in name and not name.startswith(f"{self.package.path}."):
            name = f"{self.package.path}.{name}"
        return inside or self.urls.get(name)

    def pages(self, environment: Environment) -> list[dict]:
        """The title, address, HTML, contents and search entries of every page."""
        return [Page(self, module).render(environment) for module in self.modules]


class Page:
    """The page of one module; `api.html` calls the methods."""

    def __init__(self, reference: Reference, module: griffe.Module) -> None:
        self.reference = reference
        self.module = module
        self.urls = reference.urls
        self.own = [thing for thing in contents(module) if thing.parent is module]
        """The classes, functions and documented attributes that stand in the module."""

    def render(self, environment: Environment) -> dict:
        """The title, address, HTML, contents and search entries of the page."""
        module = self.module
        url = self.urls[module.path]
        title = self.reference.short(module.path) or module.path
        html = environment.get_template("api.html").render(
            page=self, module=module, contents=contents, declarations=declarations,
            highlighted=highlighted, summary=summary, wrapped=wrapped)
        about = {"url": url, "chapter": "API", "title": title, "level": 1, "api": True,
                 "text": prose.text(self.markdown(summary(module))), "code": ""}
        return {"url": url, "title": title, "html": html, "source": None,
                "sections": [about, *(self.entry(thing, title) for thing in contents(module))],
                "contents": [{"url": self.urls[thing.path], "title": thing.name}
                             for thing in self.own if not thing.is_attribute]}

    def entry(self, thing: griffe.Object, module: str) -> dict:
        """The search entry of an object: its first sentence, qualified name and signature."""
        words = prose.text(self.markdown(summary(thing)))
        call = f"{thing.parent.path}.{declarations(thing)[0].removeprefix('class ')}"
        *classes, name = self.local(thing).split(".")
        return {"url": self.urls[thing.path], "chapter": " › ".join(["API", module, *classes]),
                "title": name, "level": 2, "api": True,
                "text": words, "code": self.reference.short(call)}

    def exported(self) -> list[griffe.Object | griffe.Alias]:
        """What the module exports and another one defines."""
        members = [self.reference.exported(self.module, name)
                   for name in self.module.exports or ()]
        return [member for member in members
                if member.is_alias or member.is_module or member.parent is not self.module]

    def below(self) -> list[griffe.Module]:
        """The modules that the page lists: the package's page all, any other those below it."""
        return [other for other in self.reference.modules if other is not self.module
                and self.module in (self.reference.package, other.parent)]

    def markdown(self, text: str) -> Markup:
        """HTML in which code spans link to what they name, this module's names included."""
        return Markup(prose.render(
            text, lambda code: self.reference.find(code, self.module.path), "../", escape=True))

    def sections(self, thing: griffe.Object) -> list[dict]:
        """The sections of a docstring."""
        return [section(part, self.markdown) for part in docstring(thing)]

    def local(self, thing: griffe.Object) -> str:
        """The name of an object within the module, such as "Mamba.step"."""
        return thing.path.removeprefix(f"{self.module.path}.")

    def bases(self, thing: griffe.Class) -> list[str]:
        """The base classes as the source names them; by their paths where those have entries."""
        paths = [getattr(base, "canonical_path", str(base)) for base in thing.bases]
        return [path if path in self.urls else str(base)
                for path, base in zip(paths, thing.bases, strict=True)]
