"""The API reference: a page per public module, from its docstrings.

griffe reads the source and its Google-style docstrings and imports nothing; `api.html` lays out
what it found.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import griffe
import prose
from cells import highlighted
from jinja2 import Environment
from markupsafe import Markup

WITHOUT_PAGE = re.compile(r"\.exercises\.")
"""Modules that would give the solutions of the exercises away."""
WIDTH = 88
"""Characters; a longer signature gets one line per parameter."""
SENTENCE = re.compile(r".+?(?<!\bal)(?<!\be\.g)(?<!\bi\.e)[.!?](?=\s|$)")
SHAPE = re.compile(r"^\([^()`]*\)")
NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?", re.S)
TITLES = {"parameters": "Args", "other parameters": "Other args", "examples": "Example"}


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
            name = self.package.members[exported].canonical_path + (rest and f".{rest}")
        elif "." in name and not name.startswith(f"{self.package.path}."):
            name = f"{self.package.path}.{name}"
        return inside or self.urls.get(name)

    def pages(self, environment: Environment) -> list[dict]:
        """The title, address, HTML, contents and search entries of every page."""
        return [self.page(module, environment) for module in self.modules]

    def page(self, module: griffe.Module, environment: Environment) -> dict:
        def markdown(text: str) -> Markup:
            return Markup(prose.render(text, lambda code: self.find(code, module.path), "../",
                                       escape=True))

        def local(thing: griffe.Object) -> str:
            return thing.path.removeprefix(f"{module.path}.")

        def entry(thing: griffe.Object) -> dict:
            call = f"{thing.parent.path}.{declarations(thing)[0].removeprefix('class ')}"
            *classes, name = local(thing).split(".")
            return {"url": self.urls[thing.path], "chapter": " › ".join(["API", title, *classes]),
                    "title": name, "level": 2, "api": True,
                    "text": f"{prose.text(markdown(summary(thing)))} {self.short(call)}"}

        url, title = self.urls[module.path], self.short(module.path) or self.package.path
        own = [thing for thing in contents(module) if thing.parent is module]
        html = environment.get_template("api.html").render(
            module=module, own=own, urls=self.urls, local=local, short=self.short,
            markdown=markdown, summary=summary, contents=contents, declarations=declarations,
            wrapped=wrapped, highlighted=highlighted,
            exported=[member for name in module.exports or ()
                      if (member := module.members[name]).is_alias or member.is_module],
            below=[other for other in self.modules if other is not module
                   and (module is self.package or other.parent is module)],
            sections=lambda thing: [section(part, markdown) for part in docstring(thing)])
        about = {"url": url, "chapter": "API", "title": title, "level": 1, "api": True,
                 "text": prose.text(markdown(summary(module)))}
        return {"url": url, "title": title, "html": html, "source": None,
                "sections": [about, *map(entry, contents(module))],
                "contents": [{"url": self.urls[thing.path], "title": thing.name} for thing in own
                             if not thing.is_attribute]}


def modules(package: griffe.Module) -> Iterator[griffe.Module]:
    """A package and the public modules below it."""
    yield package
    for member in package.members.values():
        if not member.is_alias and member.is_module and not member.name.startswith("_") \
                and not WITHOUT_PAGE.search(member.path):
            yield from modules(member)


def contents(parent: griffe.Module | griffe.Class) -> list[griffe.Object]:
    """The public classes and functions that stand in a module or class, with what stands in the
    classes, and the attributes that have a docstring; in the order of the source."""
    found = []
    for member in sorted((member for member in parent.members.values() if not member.is_alias),
                         key=lambda member: member.lineno or 0):
        if member.is_module or not member.is_public or member.is_special:
            continue
        if member.is_class or member.is_function or member.has_docstring:
            found.append(member)
        if member.is_class:
            found += contents(member)
    return found


def keep_indentation(thing: griffe.Object) -> None:
    """Restore the indentation of a block that is all that follows a docstring's first line.

    griffe measures the indentation of those lines by the least indented of them; here it is that
    of the quotes.
    """
    if thing.docstring:
        line = thing.lines_collection[thing.filepath][thing.docstring.lineno - 1]
        margin = len(line) - len(line.lstrip())
        text = ast.literal_eval(thing.docstring.source)
        thing.docstring.value = re.sub(f"(?m)^ {{0,{margin}}}", "", text).strip()


def docstring(thing: griffe.Object) -> list[griffe.DocstringSection]:
    """The sections of a docstring; after a class's those of its `__init__`."""
    init = thing.members.get("__init__") if thing.is_class else None
    return [part for one in (thing, init) if one and one.docstring for part in one.docstring.parsed]


def summary(thing: griffe.Object | griffe.Alias) -> str:
    """The first sentence of a docstring."""
    paragraph = thing.docstring.value.split("\n\n")[0] if thing.docstring else ""
    words = " ".join(paragraph.split())
    sentence = SENTENCE.match(words)
    return sentence.group() if sentence else words


def section(part: griffe.DocstringSection, markdown: Callable[[str], Markup]) -> dict:
    """The title of a section, and its HTML or its rows, one per argument, exception or field."""
    def described(text: str) -> Markup:
        return markdown(SHAPE.sub(r"`\g<0>`", text))

    kind, value = part.kind.value, part.value
    title = part.title or TITLES.get(kind, kind.capitalize())
    if kind == "text":
        return {"title": None, "html": described(value)}
    if kind in ("admonition", "examples"):
        texts = [text for _, text in value] if kind == "examples" else value.contents.split("\n\n")
        return {"title": title, "html": Markup("").join(
            highlighted(text) if text.startswith(">>>") else described(text) for text in texts)}
    if kind in ("returns", "yields"):
        # A type that is no str is the signature's, where it stands already.
        texts = [f"`{row.annotation}`: {row.description}" if isinstance(row.annotation, str)
                 else row.description for row in value]
        return {"title": title, "html": Markup("").join(map(described, texts))}
    rows = [(str(row.annotation), "") if kind == "raises" else (row.name, str(row.annotation or ""))
            for row in value]
    return {"title": title, "rows": [{"name": name, "type": of, "html": described(row.description)}
                                     for (name, of), row in zip(rows, value, strict=True)]}


def declarations(thing: griffe.Object) -> list[str]:
    """How to call a function, once per overload, or a class; how an attribute is declared."""
    if thing.is_attribute:
        of = f": {thing.annotation}" if thing.annotation else ""
        is_property = "property" in thing.labels
        return [thing.name + of + (f" = {thing.value}" if thing.value and not is_property else "")]
    if thing.is_class:
        call = thing.signature()
        if not call and any(str(base).endswith("NamedTuple") for base in thing.bases):
            fields = [member for member in thing.members.values()
                      if member.is_attribute and "property" not in member.labels]
            call = f"{thing.name}({', '.join(declarations(member)[0] for member in fields)})"
        return [f"class {call or thing.name}"]
    return [one.signature() for one in thing.overloads or [thing]]


def wrapped(call: str) -> str:
    """A signature in one line or, where that is too long, with one line per parameter."""
    if len(call) <= WIDTH or "(" not in call:
        return call
    name, _, rest = call.partition("(")
    parameters = [""]
    depth = 0
    while depth or rest[0] != ")":
        character, rest = rest[0], rest[1:]
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character == ",":
            parameters.append("")
        else:
            parameters[-1] += character
    return "\n".join([f"{name}(", *(f"    {text.strip()}," for text in parameters), rest])
