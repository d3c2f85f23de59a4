"""One function a figure: arrays in, a matplotlib Figure out. No mathematics of its own.

Colours are Okabe and Ito's, told apart by the colour-blind too, and lines differ in dash as
well. The ground is white, so that a figure reads the same on a light page and a dark one.
"""

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

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


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    # matplotlib would take a tensor apart, number by number, each a tensor again.
    return [np.asarray(x) for x in tensors]


@styled
def traces(t: Tensor, panels: Mapping[str, Lines], xlabel: str = "time, s",
           height: float = 1.7) -> Figure:
    """Signals over one time axis, panel over panel.

    Args:
        t: (length,).
        panels: from a panel's y label to its lines, and from a line's label to its
            (length,) values. A line called "input…" is drawn grey; an empty label hides it
            from the legend.
    """
    figure = Figure(figsize=(8, 0.7 + height * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (ylabel, lines) in zip(axes, panels.items(), strict=True):
        for label, y in lines.items():
            look = BEHIND if label.startswith("input") else {}
            ax.plot(*_arrays(t, y), label=label or None, **look)
        ax.set_ylabel(ylabel)
        if any(lines):
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    axes[-1].set_xlabel(xlabel)
    axes[-1].set_xlim(float(t[0]), float(t[-1]))
    return figure


@styled
def curves(x: Tensor, lines: Lines, xlabel: str, ylabel: str, *, log: str = "",
           mark: Mapping[str, float] | None = None) -> Figure:
    """Curves against one axis; `log` names the logarithmic ones, "", "x", "y" or "xy".

    Args:
        x: (points,). lines: from a label to (points,) values; NaN leaves a gap.
        mark: from a label to a place on the x axis that a grey line marks.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    for label, y in lines.items():
        ax.plot(*_arrays(x, y), marker="o" if len(x) < 30 else "", markersize=4, label=label)
    for label, place in (mark or {}).items():
        ax.axvline(place, color="#888888", linestyle=":", linewidth=1.2, label=label)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(min(0, ax.get_ylim()[0]), None)
    if "x" in log and len(x) < 10:
        ax.set_xticks(x.tolist(), [f"{place:.3g}" for place in x.tolist()], minor=False)
        ax.set_xticks([], minor=True)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@styled
def stability(z: Tensor, growth: Mapping[str, Tensor]) -> Figure:
    """Where in the plane of Δλ each rule's state fades.

    Args:
        z: (rows, columns) complex, a grid of Δλ.
        growth: from a rule to |Ā| on that grid.
    """
    figure = Figure(figsize=(8, 2.7), layout="constrained")
    axes = figure.subplots(1, len(growth), sharey=True)
    for ax, colour, (rule, size) in zip(axes, COLOURS, growth.items(), strict=False):
        ax.contourf(*_arrays(z.real, z.imag, size), levels=[0, 1], colors=[colour], alpha=0.35)
        ax.contour(*_arrays(z.real, z.imag, size), levels=[1], colors=[colour])
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(title=rule, xlabel="Re Δλ", aspect="equal")
    axes[0].set_ylabel("Im Δλ")
    return figure


@styled
def matrices(maps: Mapping[str, Tensor], xlabel: str, ylabel: str) -> Figure:
    """Square matrices of weights, none negative, side by side on one scale, zero in white.

    The scale is logarithmic but for the smallest 2 %, so that small weights show beside large.
    """
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    limit = max(float(matrix.max()) for matrix in maps.values())
    scale = SymLogNorm(linthresh=limit / 50, vmin=0, vmax=limit)
    for ax, (title, matrix) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(np.asarray(matrix), cmap="Blues", norm=scale)
        ax.set(title=title, xlabel=xlabel)
        ax.grid(False)
    axes[0].set_ylabel(ylabel)
    figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
    return figure


class DeltaExplorerFigure:
    """What Δ does, in four panels: the pole, the impulse response, the memory, the state.

    Axes and labels are drawn once; a move of a slider then draws only what moves over them,
    in a fifth of the time.

    Args:
        t, x: (length,), the time in seconds and the input. unit: the input's unit.
        lags: how many steps of the impulse response to show.
        stretches: the names of the stretches of the past, newest first.
    """

    @styled
    def __init__(self, t: Tensor, x: Tensor, unit: str, lags: int, stretches: list[str]) -> None:
        figure = Figure(figsize=(9, 4.6), dpi=90)
        self.canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 3, left=0.07, right=0.985, bottom=0.11, top=0.93,
                                   hspace=0.6, wspace=0.35, width_ratios=(1, 1.6, 1.6))
        plane, decay, past = (figure.add_subplot(grid[0, i]) for i in range(3))
        state = figure.add_subplot(grid[1, :])
        angle = np.linspace(0, 2 * np.pi, 100)
        plane.plot(np.cos(angle), np.sin(angle), **INPUT)
        plane.set(title="discrete pole Ā", xlabel="Re", ylabel="Im", aspect="equal",
                  xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        decay.set(title="impulse response", xlabel="steps after the impulse", xlim=(0, lags),
                  ylabel="share left", ylim=(0, 1.05))
        past.set(title="share of the state that is from steps", xlabel="share", xlim=(0, 1))
        past.invert_yaxis()
        state.plot(*_arrays(t, x), label="input", **INPUT)
        low, high = float(x.min()), float(x.max())
        pad = 0.05 * (high - low)
        state.set(xlabel="time, s", ylabel=unit,
                  xlim=(float(t[0]), float(t[-1])), ylim=(low - pad, high + pad))
        red = {"color": COLOURS[1], "linestyle": "-"}
        self.point, = plane.plot([0], [0], marker="X", markersize=9, color=COLOURS[1])
        self.pole = plane.text(0, 0.45, "", ha="center")
        self.title = state.text(0, 1.06, "", fontsize=10, transform=state.transAxes)
        self.response, = decay.step(np.arange(lags), np.ones(lags), where="post",
                                    color=COLOURS[0], linestyle="-")
        self.bars = past.barh(stretches, np.zeros(len(stretches)), color=COLOURS[2])
        self.state, = state.plot(*_arrays(t, x), label="state", **red)
        state.legend(loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.24))
        self.moving = (self.point, self.pole, self.title, self.response, *self.bars, self.state)
        for artist in self.moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)

    def png(self, title: str, pole: float, response: Tensor, shares: list[float],
            h: Tensor) -> bytes:
        """The figure as it stands for these numbers, as the bytes of a PNG.

        Args:
            title: stands over the state. pole: Ā, a real number. response: (lags,).
            shares: for each stretch of the past, the share of the state that is from it.
            h: (length,), the state.
        """
        self.point.set_xdata([pole])
        self.pole.set_text(f"{pole:.4f}")
        self.title.set_text(title)
        self.response.set_ydata(np.asarray(response))
        for bar, share in zip(self.bars, shares, strict=True):
            bar.set_width(share)
        self.state.set_ydata(np.asarray(h))
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        file = BytesIO()
        pixels = np.asarray(self.canvas.buffer_rgba())
        Image.fromarray(pixels).convert("RGB").save(file, "png", compress_level=1)
        return file.getvalue()
