"""One function a figure: arrays in, a matplotlib Figure out. No mathematics of its own."""

from minimamba.plots.blocks import block
from minimamba.plots.convolutions import convolution
from minimamba.plots.decays import decay
from minimamba.plots.explorers import HippoExplorerFigure
from minimamba.plots.hardware import beside, programs, roofline, stacked
from minimamba.plots.lines import curves, spread, traces
from minimamba.plots.orders import order
from minimamba.plots.planes import eigenvalues, images, matrices, stability, tables
from minimamba.plots.recalls import recall
from minimamba.plots.states import states, tokens, watched
from minimamba.plots.style import COLOURS, DASHES, compact, show

__all__ = ["COLOURS", "DASHES", "HippoExplorerFigure", "beside", "block", "compact",
           "convolution", "curves", "decay", "eigenvalues", "images", "matrices", "order",
           "programs", "recall", "roofline", "show", "spread", "stability", "stacked", "states",
           "tables", "tokens", "traces", "watched"]
