"""Figures behind a slider: drawn once, and then only what moves."""

from io import BytesIO

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from minimamba.plots.states import letters
from minimamba.plots.style import BEHIND, COLOURS, arrays, styled


class Blitted:
    """A figure whose axes and labels are drawn once; a move of a slider then draws only what
    moves over them, in a fifth of the time."""

    def _hold(self, figure: Figure, *moving: Artist) -> None:
        """Draw all but what moves, and keep the pixels."""
        self.canvas, self.moving = FigureCanvasAgg(figure), moving
        for artist in moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)

    def _png(self) -> bytes:
        """What moves, as it is now, over what was kept."""
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        file = BytesIO()
        pixels = np.asarray(self.canvas.buffer_rgba())
        Image.fromarray(pixels).convert("RGB").save(file, "png", compress_level=1)
        return file.getvalue()


class HippoExplorerFigure(Blitted):
    """What a state holds of the past: the signal with what is read from the state over it, and
    the state itself, number by number.

    Args:
        t, x: (length,), the time in seconds and the signal. unit: the signal's unit.
        most: the largest number of coefficients to show.
    """

    @styled
    def __init__(self, t: Tensor, x: Tensor, unit: str, most: int) -> None:
        figure = Figure(figsize=(9, 4.8), dpi=90)
        grid = figure.add_gridspec(2, 1, left=0.075, right=0.985, bottom=0.105, top=0.87,
                                   hspace=0.5, height_ratios=(1.8, 1))
        past, state = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        past.plot(*arrays(t, x), label="signal", **BEHIND)
        low, high = float(x.min()), float(x.max())
        past.set(xlabel="time, s", ylabel=unit, xlim=(0, float(t[-1])),
                 ylim=(low - 0.1 * (high - low), high + 0.1 * (high - low)))
        state.axhline(0, color="black", linewidth=0.8)
        state.set(xlabel="number of the state, n", ylabel="cₙ", xlim=(-1, most), ylim=(-1.1, 1.1))
        self.title = past.text(0, 1.16, "", fontsize=10, transform=past.transAxes)
        self.recalled, = past.plot([], [], color=COLOURS[1], linestyle="-", label="read from it")
        self.now = past.axvline(0, color="black", linestyle=":", linewidth=1.2, label="now")
        self.window = past.axvline(0, color=COLOURS[2], linestyle="--", linewidth=1.2,
                                   label="the window begins")
        self.coefficients, = state.plot([], [], linestyle="", marker="o", markersize=3.5,
                                        color=COLOURS[0])
        past.legend(loc="lower left", ncols=4, bbox_to_anchor=(-0.01, 0.97))
        self._hold(figure, self.title, self.recalled, self.now, self.window, self.coefficients)

    def png(self, title: str, t: Tensor, recalled: Tensor, now: float, start: float,
            c: Tensor) -> bytes:
        """The figure as it stands for these numbers, as the bytes of a PNG.

        Args:
            title: stands over the signal. t, recalled: (points,), what is read from the state.
            now, start: where the window ends and begins, in seconds. c: (N,), the state.
        """
        self.title.set_text(title)
        self.recalled.set_data(*arrays(t, recalled))
        self.now.set_xdata([now, now])
        self.window.set_xdata([start, start])
        self.coefficients.set_data(np.arange(len(c)), np.asarray(c))
        return self._png()


class StateExplorerFigure(Blitted):
    """What one layer does at each byte of a line: the steps and the norms of all its channels,
    and below, of one channel, the decays and the state, number by number.

    Args:
        text: the line, a character a byte. channels: how many. d_state: numbers of a state.
    """

    @styled
    def __init__(self, text: str, channels: int, d_state: int) -> None:
        figure = Figure(figsize=(9, 7.2), dpi=90)
        grid = figure.add_gridspec(4, 1, left=0.075, right=0.885, bottom=0.065, top=0.99,
                                   hspace=0.1, height_ratios=(1.3, 1.3, 1, 1))
        axes = [figure.add_subplot(grid[i]) for i in range(4)]
        looks = (("Δ", {"norm": LogNorm(1e-4, 1)}),
                 ("norm, of its largest", {"vmin": 0, "vmax": 1}),
                 ("kept, exp(ΔA)", {"vmin": 0, "vmax": 1}),
                 ("h, of its largest", {"vmin": -1, "vmax": 1, "cmap": "PuOr"}))
        self.maps = []
        for ax, (label, look), rows in zip(axes, looks, (channels,) * 2 + (d_state,) * 2,
                                           strict=True):
            empty = np.ones((rows, len(text)))
            self.maps.append(ax.imshow(empty, aspect="auto", interpolation="nearest", **look))
            letters(ax, text, shown=ax is axes[-1])
            ax.set_ylabel("channel" if rows == channels else "number n")
            box = ax.get_position()
            figure.colorbar(self.maps[-1], label=label,
                            cax=figure.add_axes((0.9, box.y0, 0.014, box.height)))
        axes[-1].set_xlabel("byte")
        self.marks = [ax.axhline(0, color=COLOURS[1], linestyle="-", linewidth=1.6)
                      for ax in axes[:2]]
        self.words = [ax.text(0.005, 0.96, "", transform=ax.transAxes, va="top", fontsize=9,
                              bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0})
                      for ax in (axes[0], axes[2])]
        self._hold(figure, *self.maps, *self.marks, *self.words)

    def png(self, layer: int, channel: int, delta: Tensor, norm: Tensor, decay: Tensor, h: Tensor
            ) -> bytes:
        """The figure as it stands for these numbers, as the bytes of a PNG.

        Args:
            layer, channel: their numbers, from 0.
            delta, norm: (channels, length). decay, h: (d_state, length), of the channel.
        """
        # Each row of norms, and the state, in parts of its largest: channels differ by far.
        scaled = norm / norm.amax(1, keepdim=True).clamp_min(1e-9)
        values = (delta, scaled, decay, h / h.abs().max().clamp_min(1e-9))
        for image, value in zip(self.maps, values, strict=True):
            image.set_data(np.asarray(value))
        for mark in self.marks:
            mark.set_ydata([channel, channel])
        self.words[0].set_text(f"layer {layer}, all channels")
        self.words[1].set_text(f"layer {layer}, channel {channel}")
        return self._png()
