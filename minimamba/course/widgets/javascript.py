"""Bundle the explorers' ES modules, in js/, into the one module text that a widget is made of.

Every file in js/ is an ES module that a browser or Node can import by itself. anywidget and the
static site take a single text instead, because a widget's JavaScript travels through Jupyter's
messages or inside a page, where a relative import has no address to resolve against. So `bundle`
joins a module with those that it imports. No tool has to be installed or run for that.

The modules keep to the forms that it understands, each at the beginning of a line:

    import { axes, label as text } from "./axes.js";
    export function name(…)    export const NAME = …    export default …  (in a widget's own file)
"""

import re
from importlib import resources

from minimamba.arguments import refuse

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (function|const) (\w+)", re.MULTILINE)
STATEMENT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
FOLDER = resources.files("minimamba.course.widgets") / "js"


def bundle(name: str) -> str:
    """Join a module in js/ and all that it imports into the text of one ES module.

    An imported module becomes a function that is called once and returns the module's exports, so
    that its other names stay its own. Modules come in an order in which each follows those that it
    imports. The module `name` comes last, at the top level, and keeps its exports.

    Args:
        name: the file of the module in js/, such as "delta_explorer.js".

    Returns:
        The text. The default export of an explorer has `render({model, el})`; any object with
        `get`, `set`, `on` and `save_changes` will do for the model, as long as its `set` calls
        the listeners that were registered with `on("change:…")`.

    Raises:
        ValueError: if there is no such file in js/, modules import each other in a circle, or a
            file uses another form of import or export.
    """
    known = [file.name for file in FOLDER.iterdir()]
    if name not in known:
        refuse("name", f"one of the files in js/ ({', '.join(sorted(known))})", repr(name))
    modules: dict[str, str] = {}
    _collect(name, modules, ())
    *imported, own = modules.items()
    return "\n".join([*(_as_function(*module) for module in imported),
                      _without_imports(*own, default=True)])


def _collect(name: str, modules: dict[str, str], importers: tuple[str, ...]) -> None:
    """Add a module's text to `modules`, after the texts of all that it imports."""
    if name in importers:
        raise ValueError(f"js/{name}: expected imports without a circle, got "
                         f"{' → '.join([*importers, name])}")
    text = (FOLDER / name).read_text(encoding="utf-8")
    for _, other in IMPORT.findall(text):
        if other not in modules:
            _collect(other, modules, (*importers, name))
    modules[name] = text


def _variable(name: str) -> str:
    """The variable that holds a module's exports."""
    return f"$$_{name.removesuffix('.js').replace('-', '_')}"


def _without_imports(name: str, text: str, *, default: bool) -> str:
    """The text with each import replaced by names taken from the imported module's variable.

    Only the module at the top level may have a `default` export.
    """
    text = IMPORT.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = "
                                    f"{_variable(found[2])};", text)
    for line in STATEMENT.findall(text):
        if not EXPORT.match(line) and not (default and line.startswith("export default ")):
            raise ValueError(f"js/{name}: expected an import or export that "
                             f"minimamba.course.widgets.javascript can bundle, got {line}")
    return text


def _as_function(name: str, text: str) -> str:
    """An imported module as a variable: what a function returns that has the module's text."""
    text = _without_imports(name, text, default=False)
    exports = ", ".join(found[2] for found in EXPORT.finditer(text))
    body = EXPORT.sub(r"\1 \2", text)
    return f"const {_variable(name)} = (() => {{\n{body}return {{ {exports} }};\n}})();"
