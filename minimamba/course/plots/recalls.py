"""Associative recall from one state: overlaps of keys, scores of answers, and accuracy."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def associative_recall(overlaps: Tensor, scores: Tensor, accuracy: Tensor, query: int,
                       d_state: int) -> Figure:
    """Draw one query above, and below it the accuracy over all queries.

    Args:
        overlaps: (pairs,), the scalar product of each key with the query.
        scores: (answers,), the score of each possible answer.
        accuracy: (max pairs,), the accuracy with 1, 2, … pairs, in percent.
        query: the index, from 0, of the pair whose key is the query; also that of its answer.
        d_state: the state dimension; with more pairs, not all answers can be exact.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 4.8), dpi=90, layout="constrained")
    axes = figure.subplot_mosaic([["keys", "answers"], ["all", "all"]], width_ratios=(1, 1.2))
    keys, answers, every = axes["keys"], axes["answers"], axes["all"]
    overlaps, scores, accuracy = arrays(overlaps, scores, accuracy)
    wrong = np.where(np.arange(len(scores)) == query, -np.inf, scores).argmax()
    bars = keys.bar(np.arange(len(overlaps)) + 1, overlaps, color=COLOURS[1])
    bars[query].set_color(COLOURS[0])
    keys.set(title=f"overlap of each key with key {query + 1}, the query", xlabel="pair i",
             ylabel="⟨kᵢ, kⱼ⟩", xlim=(0.2, len(accuracy) + 0.8), ylim=(-1.05, 1.05))
    answers.bar(np.arange(len(scores)) + 1, scores, color="#888888")
    for answer, colour, marker, label in ((query, COLOURS[2], "o", "correct answer"),
                                          (wrong, COLOURS[1], "D", "best wrong answer")):
        answers.plot(answer + 1, scores[answer], linestyle="", marker=marker, color=colour,
                     label=label)
    answers.set(title="scores of the answers", xlabel="possible answer", ylabel="score")
    answers.legend(loc="upper right")
    n = len(overlaps)
    every.plot(np.arange(len(accuracy)) + 1, accuracy, color=COLOURS[0], linestyle="-")
    every.plot(n, accuracy[n - 1], linestyle="", marker="o", color=COLOURS[1], label="now")
    every.axvline(d_state, color="#888888", linestyle="--", label="n = N: limit of exact recall")
    every.set_title(f"accuracy over all queries, at state dimension N = {d_state}", loc="left")
    every.set(xlabel="pairs stored, n", ylabel="accuracy, %", xlim=(0.2, len(accuracy) + 0.8),
              ylim=(0, 105))
    every.legend(loc="lower right", ncols=2, bbox_to_anchor=(1.0, 0.98))
    return figure
