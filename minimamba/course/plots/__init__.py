"""The figures of the chapters: each function takes arrays and returns a matplotlib Figure.

They draw what they are given and compute nothing that a chapter should show.
"""

from minimamba.course.plots.attention import attention_beside_recurrence
from minimamba.course.plots.blocks import mamba_block
from minimamba.course.plots.coefficients import weighted_curves
from minimamba.course.plots.conditioning import two_bases
from minimamba.course.plots.continuous_loop import continuous_loop
from minimamba.course.plots.convolutions import convolution
from minimamba.course.plots.decays import scalar_ssm
from minimamba.course.plots.discrete_parameters import discrete_parameters
from minimamba.course.plots.explorers import HippoExplorerFigure
from minimamba.course.plots.gates import gated_recurrences
from minimamba.course.plots.hardware import grouped_bars, program_tiles, roofline, stacked_bars
from minimamba.course.plots.held_input import held_input
from minimamba.course.plots.hold_and_reset import hold_and_reset
from minimamba.course.plots.lines import curves, every_run, mean_and_range, traces
from minimamba.course.plots.mixing import dense_beside_diagonal
from minimamba.course.plots.one_step import one_step
from minimamba.course.plots.orders import scan_order
from minimamba.course.plots.parallel import nonlinear_beside_linear
from minimamba.course.plots.pasts import pasts_of_one_state
from minimamba.course.plots.planes import (
    annotated_heatmaps,
    eigenvalues,
    images,
    matrices,
    stability,
)
from minimamba.course.plots.powers import powers
from minimamba.course.plots.recalls import associative_recall
from minimamba.course.plots.recurrence import recurrence_steps
from minimamba.course.plots.road import road
from minimamba.course.plots.selective_layer import selective_layer
from minimamba.course.plots.states import layer_states, text_heatmaps, token_states
from minimamba.course.plots.style import COLOURS, DASHES, compact, show

__all__ = ["COLOURS", "DASHES", "HippoExplorerFigure", "annotated_heatmaps", "associative_recall",
           "attention_beside_recurrence", "compact", "continuous_loop", "convolution", "curves",
           "dense_beside_diagonal", "discrete_parameters", "eigenvalues", "every_run",
           "gated_recurrences", "grouped_bars", "held_input", "hold_and_reset", "images",
           "layer_states", "mamba_block", "matrices", "mean_and_range", "nonlinear_beside_linear",
           "one_step", "pasts_of_one_state", "powers", "program_tiles", "recurrence_steps", "road",
           "roofline", "scalar_ssm", "scan_order", "selective_layer", "show", "stability",
           "stacked_bars", "text_heatmaps", "token_states", "traces", "two_bases",
           "weighted_curves"]
