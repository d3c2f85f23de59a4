"""Figures over two axes: the complex plane, matrices, images and tables as heat maps."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from minimamba.course.plots.style import COLOURS, arrays, coloured, styled


@styled
def stability(z: Tensor, growth: Mapping[str, Tensor], *, at: complex | None = None,
              powers: Mapping[str, Tensor] | None = None) -> Figure:
    """Draw the region of Δλ in which each discretization rule is stable, |Ā| < 1.

    Args:
        z: (rows, columns) complex, a grid of Δλ.
        growth: for each rule |Ā| on that grid.
        at: a point to mark; without it, `powers` is not used.
        powers: for each rule the real parts of Āⁿ at that point, drawn below the plane.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 2.7 if at is None else 4.4), layout="constrained")
    axes = figure.subplots(1 if at is None else 2, len(growth), sharey="row", squeeze=False)
    for ax, (rule, size, colour, _) in zip(axes[0], coloured(growth), strict=True):
        ax.contourf(*arrays(z.real, z.imag, size), levels=[0, 1], colors=[colour], alpha=0.35)
        ax.contour(*arrays(z.real, z.imag, size), levels=[1], colors=[colour])
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(title=rule, xlabel="Re Δλ", aspect="equal")
        if at is not None:
            ax.plot([at.real], [at.imag], marker="o", color="black")
    axes[0, 0].set_ylabel("Im Δλ")
    if at is not None:
        for ax, (_, steps, colour, _) in zip(axes[1], coloured(powers), strict=True):
            ax.plot(*arrays(steps), marker="o", markersize=3, linestyle="-", color=colour)
            ax.set(xlabel="step n", ylim=(-1.5, 1.5))
        axes[1, 0].set_ylabel("Re Āⁿ")
    return figure


@styled
def matrices(maps: Mapping[str, Tensor], xlabel: str, ylabel: str,
             label: str = "weight") -> Figure:
    """Draw square matrices of weights, none negative, side by side on one scale; zero is white.

    The scale is logarithmic above its lowest 2 %, so that small weights can be seen beside large
    ones.

    Args:
        maps: for each title a (rows, columns) matrix.
        xlabel: what the columns are.
        ylabel: what the rows are.
        label: what the colours are, with their unit.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    limit = max(float(matrix.max()) for matrix in maps.values())
    scale = SymLogNorm(linthresh=limit / 50, vmin=0, vmax=limit)
    for ax, (title, matrix) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(np.asarray(matrix), cmap="Blues", norm=scale)
        ax.set(title=title, xlabel=xlabel)
        ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
        ax.grid(False)
    axes[0].set_ylabel(ylabel)
    figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    return figure


@styled
def eigenvalues(groups: Mapping[str, Tensor]) -> Figure:
    """Draw eigenvalues in the complex plane, one panel per matrix; those right of 0 are unstable.

    Args:
        groups: for each title the (N,) eigenvalues, real or complex.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    axes = figure.subplots(1, len(groups), squeeze=False)[0]
    for ax, (name, points, colour, _) in zip(axes, coloured(groups), strict=True):
        ax.axvline(0, color="black", linewidth=0.8)
        points = points + 0j  # real ones too
        ax.plot(*arrays(points.real, points.imag), linestyle="", marker="o", markersize=3.5,
                color=colour)
        ax.set(title=name, xlabel="Re λ")
    axes[0].set_ylabel("Im λ")
    return figure


@styled
def images(pictures: Tensor, titles: list[str], signals: Tensor) -> Figure:
    """Draw images, and below each the signal that results when it is read pixel by pixel.

    Args:
        pictures: (count, rows, columns).
        titles: one per picture.
        signals: (count, length), from −1 to 1.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    above, below = figure.subplots(2, len(pictures), height_ratios=(1.4, 1), squeeze=False)
    for ax, picture, title in zip(above, *arrays(pictures), titles, strict=True):
        ax.imshow(picture, cmap="gray_r")
        ax.set(title=title, xticks=[], yticks=[])
        ax.grid(False)
    for ax, signal in zip(below, *arrays(signals), strict=True):
        ax.bar(range(len(signal)), signal + 1, bottom=-1, width=1.0, color=COLOURS[0])
        ax.set(xlabel="pixel", ylim=(-1.1, 1.1), yticks=[-1, 0, 1])
    for ax in below[1:]:
        ax.set_yticklabels([])
    below[0].set_ylabel("ink")
    return figure


@styled
def annotated_heatmaps(maps: Mapping[str, Tensor], rows: list[str], columns: list[str],
                       xlabel: str, ylabel: str, label: str, *, boundary: list[int] | None = None
                       ) -> Figure:
    """Draw tables of percentages as heat maps, with the number written in each cell.

    Args:
        maps: for each title a (rows, columns) table of numbers from 0 to 100; NaN leaves a gap.
        rows: the names of the rows.
        columns: the names of the columns.
        xlabel: what the columns are.
        ylabel: what the rows are.
        label: what the numbers are, with their unit.
        boundary: for each row, or for the first ones, the number of columns to the left of a line
            through the table.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(0.9 + 0.55 * len(columns) * len(maps), 0.9 + 0.38 * len(rows)),
                    layout="constrained")
    axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        values, = arrays(values)
        image = ax.imshow(values, vmin=0, vmax=100, aspect="auto", interpolation="nearest")
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8,
                        color="black" if value > 55 else "white")
        if boundary is not None:
            ends = np.arange(len(boundary) + 1) - 0.5
            ax.plot(np.repeat(boundary, 2) - 0.5, np.repeat(ends, 2)[1:-1], color="#D55E00",
                    linestyle="-", linewidth=2.2)
        ax.set(title=title, xlabel=xlabel, xlim=(-0.5, len(columns) - 0.5),
               ylim=(len(rows) - 0.5, -0.5))
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows)
        ax.grid(False)
    axes[0].set_ylabel(ylabel)
    figure.colorbar(image, ax=axes, label=label)
    return figure


@styled
def roots_and_eigenvalues(roots: Tensor, z: Tensor, eigenvalues: Tensor) -> Figure:
    """Draw roots of unity, and where a map takes them in the plane of a matrix's eigenvalues.

    Args:
        roots: (L,), complex; the points are numbered from 0.
        z: (L,), complex, what the roots become; NaN for one that goes to infinity.
        eigenvalues: (N,), complex. A line joins each to the nearest z.

    Returns:
        The figure.
    """
    roots, z, eigenvalues = arrays(roots, z, eigenvalues)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    angle = np.linspace(0, 2 * np.pi, 200)
    left.plot(np.cos(angle), np.sin(angle), color="#b0b0b0", linewidth=0.8, linestyle="-")
    left.set(title="roots of unity ω", aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.4, 1.4))
    right.axvline(0, color="#b0b0b0", linewidth=0.8, linestyle="-")
    found = z[~np.isnan(z)]
    for eigenvalue in eigenvalues:
        nearest = found[np.abs(found - eigenvalue).argmin()]
        right.plot([eigenvalue.real, nearest.real], [eigenvalue.imag, nearest.imag],
                   color="#b0b0b0", linewidth=1.0, linestyle="-")
    right.plot(eigenvalues.real, eigenvalues.imag, linestyle="", marker="s", markersize=4,
               color=COLOURS[1], label="eigenvalues λₙ")
    right.set(title="z = iν, and the eigenvalues", xlim=(-0.8, 0.5))
    for ax, points, label in ((left, roots, "ω"), (right, z, "z")):
        ax.plot(points.real, points.imag, linestyle="", marker="o", markersize=4,
                color=COLOURS[0], label=label)
        ax.set(xlabel="real part", ylabel="imaginary part")
        for k, point in enumerate(points):
            if not np.isnan(point):
                shift = 9 * point if ax is left else 9
                ax.annotate(str(k), (point.real, point.imag), (shift.real, shift.imag),
                            textcoords="offset points", ha="center", va="center")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure
