"""The figures of the chapters: each function takes arrays and returns a matplotlib Figure.

They draw what they are given and compute nothing that a chapter should show.
"""

from minimamba.course.plots.attention import attention_beside_recurrence
from minimamba.course.plots.blocks import mamba_block
from minimamba.course.plots.convolutions import convolution
from minimamba.course.plots.decays import scalar_ssm
from minimamba.course.plots.explorers import HippoExplorerFigure
from minimamba.course.plots.hardware import grouped_bars, program_tiles, roofline, stacked_bars
from minimamba.course.plots.lines import curves, every_run, mean_and_range, traces
from minimamba.course.plots.orders import scan_order
from minimamba.course.plots.planes import (
    annotated_heatmaps,
    eigenvalues,
    images,
    matrices,
    stability,
)
from minimamba.course.plots.projections import broadcast_beside_projection, ssm_projections
from minimamba.course.plots.recalls import associative_recall
from minimamba.course.plots.recurrence import recurrence_steps
from minimamba.course.plots.s4_beside_s6 import s4_beside_s6
from minimamba.course.plots.seeds import every_seed
from minimamba.course.plots.selective_steps import selective_steps
from minimamba.course.plots.ssm_shapes import ssm_shapes, ssm_step_shapes
from minimamba.course.plots.states import layer_states, text_heatmaps, token_states
from minimamba.course.plots.style import COLOURS, DASHES, compact, show
from minimamba.course.plots.token_channels import token_channels
from minimamba.course.plots.token_sequences import token_sequences

__all__ = ["COLOURS", "DASHES", "HippoExplorerFigure", "annotated_heatmaps", "associative_recall",
           "attention_beside_recurrence", "broadcast_beside_projection", "compact", "convolution",
           "curves", "eigenvalues", "every_run", "every_seed", "grouped_bars", "images",
           "layer_states", "mamba_block", "matrices", "mean_and_range", "program_tiles",
           "recurrence_steps", "roofline", "s4_beside_s6", "scalar_ssm", "scan_order",
           "selective_steps", "show", "ssm_projections", "ssm_shapes", "ssm_step_shapes",
           "stability", "stacked_bars", "text_heatmaps", "token_channels", "token_sequences",
           "token_states", "traces"]
