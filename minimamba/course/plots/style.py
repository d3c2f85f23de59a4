"""How every figure looks, and how a notebook shows it.

Colours are Okabe and Ito's, told apart by the colour-blind too, and lines differ in dash as
well. The ground is white, so that a figure reads the same on a light page and a dark one.
"""

import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from minimamba.arguments import refuse

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)),
          (0, (9, 2)))
STYLE = {
    "axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES),
    "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 10, "axes.labelsize": 10, "font.size": 9, "legend.fontsize": 9,
    "legend.frameon": False, "lines.linewidth": 1.4, "image.cmap": "cividis",
    "figure.facecolor": "white", "savefig.facecolor": "white",
    # The same code writes the same SVG, byte for byte.
    "svg.hashsalt": "minimamba", "svg.fonttype": "path", "font.family": "DejaVu Sans",
}
INPUT = {"color": "#888888", "linestyle": "-", "linewidth": 1.0}
"""How every figure draws an input, to set it off from what is made of it."""
BEHIND = {"color": "#b0b0b0", "linestyle": "-", "linewidth": 2.2}
"""The same where other lines may lie on it: wider, so that it still shows."""

styled = matplotlib.rc_context(STYLE)
Lines = Mapping[str, Tensor]


def show(figure: Figure, name: str, caption: str) -> None:
    """Display a figure in a notebook with its caption, which is its alternative text too.

    Where the environment variable MINIMAMBA_FIGURES names a folder, the figure is written
    there as well, as `name`.svg: that is how `figures/` is made.
    """
    from IPython import display

    folder = os.environ.get("MINIMAMBA_FIGURES")
    if folder:
        with matplotlib.rc_context(STYLE):
            figure.savefig(Path(folder) / f"{name}.svg",
                           metadata={"Date": None, "Title": name, "Description": caption})
    width = int(figure.get_figwidth() * 100)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=130)
    display.display(display.Image(compact(file.getvalue()), width=width, alt=caption))
    display.display(display.Markdown(f"*{caption}*"))


def compact(png: bytes) -> bytes:
    """The same picture in 128 colours, a third of the bytes: a notebook carries many."""
    file = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(128).save(file, "png", optimize=True)
    return file.getvalue()


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    # matplotlib would take a tensor apart, number by number, each a tensor again.
    return [np.asarray(x.detach()) for x in tensors]


def coloured(things: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, str, object]]:
    """Each with its own colour and dash, of which there are six."""
    if len(things) > len(COLOURS):
        refuse("lines", f"at most {len(COLOURS)}, to be told apart", len(things))
    for (label, thing), colour, dash in zip(things.items(), COLOURS, DASHES, strict=False):
        yield label, thing, colour, dash
