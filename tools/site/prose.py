"""Markdown to HTML: formulas become MathML, which browsers draw without help; links between
notebooks become links between pages; code that names a part of the library links to its reference.
"""

import re
from collections.abc import Callable
from html import escape, unescape

from math_core import LatexToMathML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

LATEX = LatexToMathML()
"""Raises an exception for a formula that it can't convert."""

# Corrections where browsers typeset MathML worse than LaTeX does: a pattern, its replacement.
CORRECTIONS = [(re.compile(pattern), better) for pattern, better in (
    # A large bracket (\big) under an exponent stays large in Chromium only if it is not alone.
    (r"(<m(?:sup|sub|subsup)>)(<mo [^>]*maxsize[^>]*>[^<]*</mo>)",
     r'\1<mrow>\2<mspace width="0"/></mrow>'),
    # The exponent of Ā stands as high as that of A.
    (r'(<m(?:sup|subsup)>)(<mover accent="true">.*?</mover>)',
     r'\1<mpadded height="0.72em">\2</mpadded>'),
    # A prime is a raised character already.
    (r"<msup>((?:<mpadded.*?</mpadded>)|<mi>.</mi>)<mo>′</mo></msup>",
     r'<mrow>\1<mo lspace="0" rspace="0">′</mo></mrow>'),
)]


def render(markdown: str, find: Callable[[str], str | None] | None = None, root: str = "", *,
           escape: bool = False) -> str:
    """Convert Markdown to HTML.

    Args:
        markdown: the text.
        find: gives the address of what a code span names, relative to the site, or None.
        root: the way from the page to the site's folder, such as "../".
        escape: whether HTML in the text is shown as text.
    """
    renderer = Renderer(escape=escape, exclude_anchor_links=True)
    renderer.find, renderer.root = find, root
    html = MarkdownWithMath(renderer).render(markdown)
    # Keep a full stop on the line of the formula before it.
    return re.sub(r"(<math>(?:(?!</math>).)*</math>[.,;:?!)]+)",
                  r'<span class="together">\1</span>', html)


def text(html: str) -> str:
    """The visible text of some HTML, in one line."""
    html = re.sub(r"<script.*?</script>|</(?:p|li|td|th|pre|div|h\d)>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


def formula(latex: str, display: bool) -> str:
    """Convert a formula from LaTeX to MathML."""
    mathml = LATEX.convert_with_local_state(latex, displaystyle=display)
    for pattern, better in CORRECTIONS:
        mathml = pattern.sub(better, mathml)
    return mathml


class Renderer(IPythonRenderer):
    """What differs from nbconvert's own HTML."""

    find: Callable[[str], str | None] | None = None
    root = ""

    def inline_math(self, body: str) -> str:
        return formula(body, display=False)

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{formula(body, display=True)}</span>'

    def heading(self, html: str, level: int, **attributes: object) -> str:
        """Give a heading the id that JupyterLab gives it, so that the notebooks' links work."""
        name = text(html).replace(" ", "-")
        return f'<h{level} id="{escape(name)}">{without_api_links(html)}</h{level}>\n'

    def codespan(self, text: str) -> str:
        """Link code that names a part of the library to the API reference."""
        html = super().codespan(text)
        url = self.find(text) if self.find else None
        return f'<a class="api" href="{self.root}{escape(url)}">{html}</a>' if url else html

    def link(self, html: str, url: str, title: str | None = None) -> str:
        """Lead to the page of a notebook, or of the glossary, instead of its file."""
        page = re.sub(r"^([\w.-]*)\.(?:ipynb|md)(?=#|$)", r"\1.html", url)
        return super().link(without_api_links(html), page, title)

    def image(self, alt: str, url: str, title: str | None = None) -> str:
        """Open a figure by itself when it is clicked."""
        url = url.removeprefix("../")
        return f'<a href="{url}">{super().image(alt, url, title)}</a>'

    def table(self, html: str) -> str:
        return f'<div class="wide"><table>\n{html}</table></div>\n'


def without_api_links(html: str) -> str:
    """Remove links to the API reference: a link can't hold another one."""
    return re.sub(r'<a class="api"[^>]*>(.*?)</a>', r"\1", html)
