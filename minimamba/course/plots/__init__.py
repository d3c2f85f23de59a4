"""The figures of the chapters: each function takes arrays and returns a matplotlib Figure.

They draw what they are given and compute nothing that a chapter should show.
"""

from minimamba.course.plots.attention import attention_beside_recurrence
from minimamba.course.plots.blocks import mamba_block
from minimamba.course.plots.channels import layer_of_channels
from minimamba.course.plots.convolutions import convolution
from minimamba.course.plots.decays import scalar_ssm
from minimamba.course.plots.explorers import HippoExplorerFigure
from minimamba.course.plots.hardware import grouped_bars, program_tiles, roofline, stacked_bars
from minimamba.course.plots.lines import curves, every_run, mean_and_range, traces
from minimamba.course.plots.maps import matrix_times_input
from minimamba.course.plots.modes import two_modes
from minimamba.course.plots.orders import scan_order
from minimamba.course.plots.parallel import nonlinear_beside_linear
from minimamba.course.plots.planes import (
    annotated_heatmaps,
    eigenvalues,
    images,
    matrices,
    stability,
)
from minimamba.course.plots.recalls import associative_recall
from minimamba.course.plots.recurrence import recurrence_steps
from minimamba.course.plots.road import road
from minimamba.course.plots.sliding import sliding_kernel
from minimamba.course.plots.states import layer_states, text_heatmaps, token_states
from minimamba.course.plots.style import COLOURS, DASHES, compact, show
from minimamba.course.plots.unrolled import unrolled_recurrence
from minimamba.course.plots.wrapping import wrapped_convolution

__all__ = ["COLOURS", "DASHES", "HippoExplorerFigure", "annotated_heatmaps", "associative_recall",
           "attention_beside_recurrence", "compact", "convolution", "curves", "eigenvalues",
           "every_run", "grouped_bars", "images", "layer_of_channels", "layer_states",
           "mamba_block", "matrices", "matrix_times_input", "mean_and_range",
           "nonlinear_beside_linear", "program_tiles", "recurrence_steps", "road", "roofline",
           "scalar_ssm", "scan_order", "show", "sliding_kernel", "stability", "stacked_bars",
           "text_heatmaps", "token_states", "traces", "two_modes", "unrolled_recurrence",
           "wrapped_convolution"]
