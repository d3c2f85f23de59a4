"""The style of all figures, and the function with which a notebook shows one.

The colours are those of Okabe and Ito, which people with colour blindness can tell apart; lines
also differ in their dashes. The background is white; where the page is dark,
tools/site and tools/labextension make it dark too.
"""

import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.atomic import replacing

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
"""How an input is drawn, to set it off from what is computed from it."""
BEHIND = {"color": "#b0b0b0", "linestyle": "-", "linewidth": 2.2}
"""How an input is drawn where other lines may cover it: wider, so that it can still be seen."""

styled = matplotlib.rc_context(STYLE)
Lines = Mapping[str, Tensor]


def show(figure: Figure, name: str, caption: str) -> None:
    """Display a figure in a notebook, with its caption below it.

    If the environment variable MINIMAMBA_FIGURES names a folder, the figure is also written there
    as an SVG; `make figures` fills figures/ that way.

    Args:
        figure: what one of the functions of this package returned.
        name: of the SVG, without its suffix.
        caption: full sentences; also the alternative text of the picture.
    """
    from IPython import display

    folder = os.environ.get("MINIMAMBA_FIGURES")
    if folder:
        _write_svg(figure, Path(folder), name, caption)
    width = int(figure.get_figwidth() * 100)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=130)
    display.display(display.Image(compact(file.getvalue()), width=width, alt=caption))
    text = caption.replace("*", r"\*")  # an asterisk of its own would end the italics
    display.display(display.Markdown(f"*{text}*"))


def _write_svg(figure: Figure, folder: Path, name: str, caption: str) -> None:
    """Write a figure as an SVG that is the same, byte for byte, each time it is drawn."""
    with matplotlib.rc_context(STYLE), replacing(folder / f"{name}.svg") as file:
        figure.savefig(file, format="svg",
                       metadata={"Date": None, "Title": name, "Description": caption})


def compact(png: bytes) -> bytes:
    """Reduce a PNG to 128 colours, which takes a third of the bytes in a notebook.

    Args:
        png: the bytes of a PNG.

    Returns:
        The bytes of the smaller PNG.
    """
    file = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(128).save(file, "png", optimize=True)
    return file.getvalue()


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Convert tensors to NumPy arrays, because matplotlib would convert a tensor item by item.

    Args:
        tensors: on the CPU; they may require gradients.

    Returns:
        One array per tensor.
    """
    return [np.asarray(x.detach()) for x in tensors]


def coloured(lines: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, str, object]]:
    """Give each line a colour and a dash of its own.

    Args:
        lines: for each label its values.

    Yields:
        The label, the values, the colour and the dash of each line.

    Raises:
        ValueError: for more lines than there are colours.
    """
    if len(lines) > len(COLOURS):
        refuse("lines", f"at most {len(COLOURS)}, to be told apart", len(lines))
    for (label, values), colour, dash in zip(lines.items(), COLOURS, DASHES, strict=False):
        yield label, values, colour, dash


def mark_x(ax: Axes, mark: Mapping[str, float] | None) -> None:
    """Draw vertical lines with labels in the legend.

    Args:
        ax: the axes to draw on.
        mark: for each label the x of its line.
    """
    for label, x in (mark or {}).items():
        ax.axvline(x, color="#888888", linestyle=":", linewidth=1.2, label=label)
