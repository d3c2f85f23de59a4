"""What a memory made of products gives back: overlaps, scores, and the share that is right."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def recall(overlaps: Tensor, scores: Tensor, shares: Tensor, own: int, numbers: int) -> Figure:
    """One pair asked for, and below it all of them.

    Args:
        overlaps: (pairs,), of each key with the one asked for. scores: (answers,).
        shares: right answers in percent, with 1, 2, … pairs.
        own: the place, from 0, of the pair asked for and of its answer.
        numbers: a channel; with more pairs not all can be exact.
    """
    figure = Figure(figsize=(9, 4.8), dpi=90, layout="constrained")
    axes = figure.subplot_mosaic([["keys", "answers"], ["all", "all"]], width_ratios=(1, 1.2))
    keys, answers, every = axes["keys"], axes["answers"], axes["all"]
    overlaps, scores, shares = arrays(overlaps, scores, shares)
    other = np.where(np.arange(len(scores)) == own, -np.inf, scores).argmax()
    bars = keys.bar(np.arange(len(overlaps)) + 1, overlaps, color=COLOURS[1])
    bars[own].set_color(COLOURS[0])
    keys.set(title=f"overlap of each key with key {own + 1}", xlabel="pair i",
             ylabel="⟨kᵢ, kⱼ⟩", xlim=(0.2, len(shares) + 0.8), ylim=(-1.05, 1.05))
    answers.bar(np.arange(len(scores)) + 1, scores, color="#888888")
    for place, colour, marker, label in ((own, COLOURS[2], "o", "right answer"),
                                         (other, COLOURS[1], "D", "best wrong one")):
        answers.plot(place + 1, scores[place], linestyle="", marker=marker, color=colour,
                     label=label)
    answers.set(title="scores of the answers", xlabel="possible answer", ylabel="score")
    answers.legend(loc="upper right")
    n = len(overlaps)
    every.plot(np.arange(len(shares)) + 1, shares, color=COLOURS[0], linestyle="-")
    every.plot(n, shares[n - 1], linestyle="", marker="o", color=COLOURS[1], label="now")
    every.axvline(numbers, color="#888888", linestyle="--", label="n = N: exactness ends here")
    every.set_title(f"right answers for all pairs, with {numbers} numbers a channel", loc="left")
    every.set(xlabel="pairs in the memory, n", ylabel="right, %", xlim=(0.2, len(shares) + 0.8),
              ylim=(0, 105))
    every.legend(loc="lower right", ncols=2, bbox_to_anchor=(1.0, 0.98))
    return figure
