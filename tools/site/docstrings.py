"""Public names, docstrings and signatures, as griffe finds them in the source."""

import ast
import re
from collections.abc import Callable, Iterator

import griffe
from cells import highlighted
from markupsafe import Markup

WITHOUT_PAGE = re.compile(r"\.exercises\.")
"""Modules that would give the solutions of the exercises away."""
WIDTH = 88
"""Characters; a longer signature gets one line per parameter."""
SENTENCE = re.compile(r".+?(?<!\bal)(?<!\be\.g)(?<!\bi\.e)[.!?](?=\s|$)")
SHAPE = re.compile(r"^\([^()`]*\)")
TITLES = {"parameters": "Args", "other parameters": "Other args", "examples": "Example"}


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
    """How to call a function or a class; how an attribute is declared."""
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
    # The signature of the implementation is enough, unless only the overloads have types.
    return [one.signature() for one in (thing.returns is None and thing.overloads) or [thing]]


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
