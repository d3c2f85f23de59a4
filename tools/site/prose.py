"""Markdown to HTML: formulas as MathML, which browsers draw themselves, and links between pages."""

import re
from html import escape, unescape

from math_core import LatexToMathML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

LATEX = LatexToMathML()  # raises on what it cannot read

# Where browsers set a formula worse than LaTeX: what to look for, what to write.
FINER = [(re.compile(pattern), better) for pattern, better in (
    # A large bracket (\big) under an exponent stays large in Chromium only if it is not alone.
    (r"(<m(?:sup|sub|subsup)>)(<mo [^>]*maxsize[^>]*>[^<]*</mo>)",
     r'\1<mrow>\2<mspace width="0"/></mrow>'),
    # An exponent stands as high over Ā as over A.
    (r'(<m(?:sup|subsup)>)(<mover accent="true">.*?</mover>)',
     r'\1<mpadded height="0.72em">\2</mpadded>'),
    # A prime is drawn high already.
    (r"<msup>((?:<mpadded.*?</mpadded>)|<mi>.</mi>)<mo>′</mo></msup>",
     r'<mrow>\1<mo lspace="0" rspace="0">′</mo></mrow>'),
)]


def render(markdown: str) -> str:
    html = MarkdownWithMath(Renderer(escape=False, exclude_anchor_links=True)).render(markdown)
    # No line begins with the full stop after a formula.
    return re.sub(r"(<math>(?:(?!</math>).)*</math>[.,;:?!)]+)",
                  r'<span class="together">\1</span>', html)


def text(html: str) -> str:
    """What a reader sees of it, in one line."""
    html = re.sub(r"<script.*?</script>|</(?:p|li|td|th|pre|div|h\d)>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


def formula(latex: str, display: bool) -> str:
    mathml = LATEX.convert_with_local_state(latex, displaystyle=display)
    for pattern, better in FINER:
        mathml = pattern.sub(better, mathml)
    return mathml


class Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return formula(body, display=False)

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{formula(body, display=True)}</span>'

    def heading(self, html: str, level: int, **attributes: object) -> str:
        """With the name that JupyterLab gives it, so that the notebooks' links hold here too."""
        name = text(html).replace(" ", "-")
        return f'<h{level} id="{escape(name)}">{html}</h{level}>\n'

    def link(self, html: str, url: str, title: str | None = None) -> str:
        """Another notebook is another page, and so is the glossary."""
        page = re.sub(r"^([\w.-]*)\.(?:ipynb|md)(?=#|$)", r"\1.html", url)
        return super().link(html, page, title)

    def image(self, alt: str, url: str, title: str | None = None) -> str:
        """A figure, which opens by itself when it is clicked."""
        url = url.removeprefix("../")
        return f'<a href="{url}">{super().image(alt, url, title)}</a>'

    def table(self, html: str) -> str:
        return f'<div class="wide"><table>\n{html}</table></div>\n'
