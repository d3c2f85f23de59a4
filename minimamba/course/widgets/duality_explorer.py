"""See which entries of the mask each step of the chunked form computes with.

The drawing is made by js/duality_explorer.js.
"""

import torch
from matplotlib.figure import Figure

from minimamba.arguments import check_number
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import check_whole_number, real_number, whole_number
from minimamba.course.widgets.javascript import bundle
from minimamba.ssd.reference import decay_mask

LENGTH = 16
"""Steps of the sequence."""
LEAST_DECAY = 0.5


class DualityExplorer(BrowserExplorer):
    """An explorer of state space duality: the mask of 16 steps, cut into chunks.

    Args:
        decay: per step, from 0.5 to 1; 1 is linear attention.
        chunk_size: steps per chunk, from 1, the recurrence, to 16, masked attention.
        step: of the four steps, the one whose entries are lit; 0 for the whole mask.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "duality_explorer.js"
    _esm = bundle(module)
    settings = ("decay", "chunk_size", "step")
    decay = real_number(LEAST_DECAY, 1)
    """The decay per step."""
    chunk_size = whole_number(1, LENGTH)
    """Steps per chunk."""
    step = whole_number(0, 4)
    """The step whose entries are lit; 0 for the whole mask."""

    def __init__(self, decay: float = 0.8, chunk_size: int = 4, step: int = 1) -> None:
        check_number("decay", decay, f"{LEAST_DECAY:g} to 1", LEAST_DECAY, 1)
        check_whole_number("chunk_size", chunk_size, 1, LENGTH)
        check_whole_number("step", step, 0, 4)
        super().__init__(decay=decay, chunk_size=chunk_size, step=step)

    def mask(self) -> torch.Tensor:
        """The mask, (16, 16)."""
        return decay_mask(torch.full((LENGTH,), self.decay, dtype=torch.float64).log())

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        size, chunks = self.chunk_size, -(-LENGTH // self.chunk_size)
        lit = plots.lit_entries(LENGTH, size, self.step).sum()
        return (
            f"Chunks of {size}: {chunks} in 16 steps. Of step 1, {self.decay**15:.3g} is left at "
            "step 16.",
            f"Step 1, within chunks: {lit} of 136 entries, all at once.",
            f"Step 2, what each chunk adds to the state: {lit} weights, the least "
            f"{self.decay ** (size - 1):.3g}.",
            f"Step 3, from chunk to chunk: {chunks - 1} to hand on, one after another. Over a "
            f"chunk, {self.decay**size:.3g} of the state is left.",
            f"Step 4, what the entering state adds: {lit} of 136 entries, all at once.",
        )[self.step]

    def _figure(self) -> Figure:
        return plots.mask_blocks(self.mask(), self.chunk_size, self.step)

    def __repr__(self) -> str:
        return (f"DualityExplorer(decay={self.decay:g}, chunk_size={self.chunk_size}, "
                f"step={self.step})")
