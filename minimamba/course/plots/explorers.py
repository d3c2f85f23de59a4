"""The figure of HippoExplorer, which is drawn once; a setting changes only its moving parts."""

from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from minimamba.course.plots.style import BEHIND, COLOURS, arrays, styled


class HippoExplorerFigure:
    """A signal with its reconstruction from a HiPPO state, and below it the state's coefficients.

    Axes, labels and the signal are drawn once. `png` draws only what changes over them, in a fifth
    of the time.

    Args:
        t: (length,), the time in seconds.
        x: (length,), the signal.
        unit: of the signal.
        max_coefficients: the largest number of coefficients to show.
    """

    @styled
    def __init__(self, t: Tensor, x: Tensor, unit: str, max_coefficients: int) -> None:
        figure = Figure(figsize=(9, 4.8), dpi=90)
        grid = figure.add_gridspec(2, 1, left=0.075, right=0.985, bottom=0.105, top=0.87,
                                   hspace=0.5, height_ratios=(1.8, 1))
        past = figure.add_subplot(grid[0])
        state = figure.add_subplot(grid[1])
        past.plot(*arrays(t, x), label="signal", **BEHIND)
        low, high = float(x.min()), float(x.max())
        past.set(xlabel="time, s", ylabel=unit, xlim=(0, float(t[-1])),
                 ylim=(low - 0.1 * (high - low), high + 0.1 * (high - low)))
        state.axhline(0, color="black", linewidth=0.8)
        state.set(xlabel="coefficient n", ylabel="cₙ", xlim=(-1, max_coefficients),
                  ylim=(-1.1, 1.1))
        self.title = past.text(0, 1.16, "", fontsize=10, transform=past.transAxes)
        self.reconstruction, = past.plot([], [], color=COLOURS[1], linestyle="-",
                                         label="reconstruction")
        self.now = past.axvline(0, color="black", linestyle=":", linewidth=1.2, label="now")
        self.window = past.axvline(0, color=COLOURS[2], linestyle="--", linewidth=1.2,
                                   label="start of the window")
        self.coefficients, = state.plot([], [], linestyle="", marker="o", markersize=3.5,
                                        color=COLOURS[0])
        past.legend(loc="lower left", ncols=4, bbox_to_anchor=(-0.01, 0.97))
        self.moving = (self.title, self.reconstruction, self.now, self.window, self.coefficients)
        for artist in self.moving:
            artist.set_animated(True)
        self.canvas = FigureCanvasAgg(figure)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def png(self, title: str, t: Tensor, reconstruction: Tensor, now: float, start: float,
            c: Tensor) -> bytes:
        """Draw the figure for one state.

        Args:
            title: the title of the figure.
            t: (points,), the times of the reconstruction, in seconds.
            reconstruction: (points,).
            now: the end of the window, in seconds.
            start: the start of the window, in seconds.
            c: (N,), the coefficients.

        Returns:
            The bytes of a PNG.
        """
        self.title.set_text(title)
        self.reconstruction.set_data(*arrays(t, reconstruction))
        self.now.set_xdata([now, now])
        self.window.set_xdata([start, start])
        self.coefficients.set_data(np.arange(len(c)), np.asarray(c))
        self.canvas.restore_region(self.background)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        file = BytesIO()
        pixels = np.asarray(self.canvas.buffer_rgba())
        Image.fromarray(pixels).convert("RGB").save(file, "png", compress_level=1)
        return file.getvalue()
