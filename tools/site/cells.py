"""The cells of an executed notebook as HTML: text, code, and saved outputs. Nothing is run."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

import prose
from markupsafe import Markup
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

LEXER = PythonLexer()
FORMATTER = HtmlFormatter(nowrap=True)
MODULE = re.compile(r"\w+\.js", re.ASCII)
WIDGET = "application/vnd.minimamba.widget+json"
STILL = "This explorer needs Python: it is interactive in JupyterLab."


@dataclass
class Body:
    """Converts notebooks cell by cell."""

    figures: dict[str, str]
    """The file in figures/ of each caption."""
    find: Callable[[str], str | None] | None = None
    """Gives the address of what a code span names."""
    widgets: dict[str, str] = field(default_factory=dict)
    """The HTML of the first widget found so far of each JavaScript file."""

    def render(self, book: NotebookNode) -> str:
        return "\n".join(map(self.cell, book.cells))

    def cell(self, cell: NotebookNode) -> str:
        if cell.cell_type != "code":
            return prose.render(cell.source, self.find)
        source = str(highlighted(cell.source)) if cell.source else ""
        outputs = "".join(map(self.output, cell.outputs))
        if "solution" in cell.metadata.get("tags", []):
            html = (f'<details class="solution"><summary>Solution</summary>'
                    f"{source}{outputs}</details>")
        elif cell.metadata.get("jupyter", {}).get("source_hidden"):
            title = escape(cell.source.split("\n")[0].removeprefix("# "))
            html = f"<details><summary>{title}</summary>{source}</details>{outputs}"
        else:
            html = source + outputs
        # The address that JupyterLab gives a cell, so that the notebooks' links work.
        return f'<div id="cell-id={escape(cell.id)}">{html}</div>' if "id" in cell else html

    def output(self, output: NotebookNode) -> str:
        if output.output_type in ("stream", "error"):
            lines = output.get("text") or "\n".join(output.traceback)
            return self.plain(re.sub(r"\x1b\[[\d;]*m", "", lines))
        data = output.data
        if WIDGET in data:
            return self.widget(data[WIDGET], self.picture(output))
        if "image/png" in data and output.output_type == "execute_result":
            return f'<figure>{self.picture(output)}<p class="note">{STILL}</p></figure>'
        if "image/png" in data:
            return self.figure(output)
        if "text/html" in data:
            return f'<div class="wide">{data["text/html"]}</div>'
        if "text/markdown" in data:
            is_caption = data["text/markdown"].strip("*").replace(r"\*", "*") in self.figures
            return "" if is_caption else prose.render(data["text/markdown"], self.find)
        if "text/plain" not in data:
            raise ValueError(f"output: expected text/plain among its types, got {[*data]}")
        return self.plain(data["text/plain"])

    def plain(self, lines: str) -> str:
        return f'<pre class="output"><samp>{escape(lines)}</samp></pre>'

    def figure(self, output: NotebookNode) -> str:
        """Show the SVG of a figure where there is one: it is sharp at any size and on paper."""
        about = output.metadata.get("image/png", {})
        svg = self.figures.get(about.get("alt"))
        if svg is None:
            return f"<figure>{self.picture(output)}</figure>"
        caption = escape(about["alt"])
        picture = (f'<img src="figures/{svg}" alt="{caption}" '
                   f'width="{about.get("width", 700)}">')
        return (f'<figure><div class="wide"><a href="figures/{svg}">{picture}</a></div>'
                f"<figcaption>{caption}</figcaption></figure>")

    def picture(self, output: NotebookNode) -> str:
        if "image/png" not in output.data:
            return ""
        alt = output.metadata.get("image/png", {}).get("alt", "")
        png = output.data["image/png"].replace("\n", "")
        return f'<img src="data:image/png;base64,{escape(png)}" alt="{escape(alt)}">'

    def widget(self, widget: dict, still: str) -> str:
        """Write the still picture, and the data with which widgets.js replaces it."""
        if not isinstance(widget, dict) or not {"module", "state"} <= widget.keys():
            raise ValueError(f"{WIDGET}: expected a module and a state, got {widget!r:.60}")
        name = widget["module"]
        if not isinstance(name, str) or not MODULE.fullmatch(name):
            raise ValueError(f"module: expected the name of a JavaScript file, got {name!r}")
        state = json.dumps(widget["state"]).replace("<", r"\u003c")  # HTML sees no tag in it
        html = (f'<div class="widget" data-module="{name}">'
                f'<script type="application/json">{state}</script>'
                f'<div class="still">{still}</div></div>')
        self.widgets.setdefault(name, html)
        return html


def highlighted(code: str) -> Markup:
    """Python as HTML, with the classes that style.css colours."""
    lines = highlight(code, LEXER, FORMATTER)
    return Markup(f'<pre class="code"><code>{lines}</code></pre>')
