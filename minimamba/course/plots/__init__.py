"""One function a figure: arrays in, a matplotlib Figure out. No mathematics of its own."""

from minimamba.course.plots.blocks import block
from minimamba.course.plots.convolutions import convolution
from minimamba.course.plots.decays import decay
from minimamba.course.plots.explorers import HippoExplorerFigure
from minimamba.course.plots.hardware import beside, programs, roofline, stacked
from minimamba.course.plots.lines import curves, spread, traces
from minimamba.course.plots.orders import order
from minimamba.course.plots.planes import eigenvalues, images, matrices, stability, tables
from minimamba.course.plots.recalls import recall
from minimamba.course.plots.states import states, tokens, watched
from minimamba.course.plots.style import COLOURS, DASHES, compact, show

__all__ = ["COLOURS", "DASHES", "HippoExplorerFigure", "beside", "block", "compact",
           "convolution", "curves", "decay", "eigenvalues", "images", "matrices", "order",
           "programs", "recall", "roofline", "show", "spread", "stability", "stacked", "states",
           "tables", "tokens", "traces", "watched"]
