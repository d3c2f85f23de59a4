"""How Mamba-2's scan is divided among the programs of a GPU.

| word | meaning in this package |
|---|---|
| program | one instance of a kernel, of several warps |
| chunk | consecutive steps whose masked attention a program computes at once |
| block | the neighboring features of one head that a program computes |
| split | whole chunks that one program of `walk` or `walk_states` takes one after another |
| part | the heads of a group that one program of the backward pass takes one after another |

One split is the whole length, where batch, heads and blocks make enough programs to fill the GPU.
More splits cost a pass over x and B, for the states that enter them (`forward.py`).

The tiles were chosen for NVIDIA's H100 and H200. By the machine code: in half precision no walk
without a gate spills registers, and one with a gate at most a few, but for its backward pass; in
float32 few are spilled up to d_state 128. And by the GPU time on an H200, with head_dim 64 and
without a gate: in bfloat16 with d_state 64, 128 and 256, and 24 or 80 heads; in float32 the
backward pass with d_state 16, 64, 128 and 256, and 24 heads. On any other GPU tiles change the
time, but the result only by rounding.
"""

from functools import lru_cache
from typing import NamedTuple

import torch

SMALLEST = 16
"""Rows or columns of the smallest matrix that `tl.dot` multiplies."""
WARPS_THAT_FIT = 8
"""Warps on a multiprocessor whose lanes use all the registers that they can address."""
PASS_COST = 0.45
"""Time of the pass before `walk`, as a fraction of its own."""
MANY_CHUNKS = 8
"""Chunks of the backward pass in a split, from which on it costs little to fill up the last one."""
PASS_CHUNKS = 2
"""Chunks that `walk` could compute while that pass is launched."""
WALK_WARPS_THAT_FIT = 16
"""Warps of `walk_states` on a multiprocessor."""
WALKS_THAT_FILL = 2
"""Programs of `walk_states` on a multiprocessor, from which on wider tiles are faster than more of
them. Measured on 132 multiprocessors: 192 programs took longer than 384 of half the width, by 35 %
of forward + backward at d_state 128 and by 25 % at 64; 640 were faster than 1280, by 3 %."""
NARROWEST = 32
"""Components of the state of a program of `walk_states`, where there are more than that."""
WALK_PASS_COST = 0.6
"""Time of the pass before `walk_states` writes states, as a fraction of its own."""
PART_BLOCKS = 3
"""Blocks of heads that a program could compute while it reads B and C and adds up dB or dC."""
MAX_WAVES = 4
"""Times all programs that fit run at once; beyond, more splits only cost."""


class SSDShape(NamedTuple):
    """The sizes of a scan."""

    batch: int
    length: int
    n_heads: int
    head_dim: int
    n_groups: int
    d_state: int


class Tiles(NamedTuple):
    """What a program of `walk` computes at once."""

    chunk: int
    """Steps."""
    block: int
    """Features of a head; a power of two."""
    states: int
    """d_state, filled up to a power of two."""
    slice: int
    """Components of the state that a product of matrices takes."""
    warps: int
    stages: int
    """Chunks whose tensors are in shared memory."""
    pass_stages: int
    """The same for `add_up`, which needs fewer tensors."""
    is_early: bool = False
    """Whether the state is updated before y is stored. Both orders compute the same."""


class BackwardTiles(NamedTuple):
    """What programs of the backward pass compute at once."""

    chunk: int
    """Steps, and so on as in `Tiles`."""
    block: int
    states: int
    columns: int
    """Components of the state, for each of the features, of a program of `walk_states`: the most
    that it takes."""
    slice: int
    """Components of the state that a product of the other kernels takes."""
    is_apart: bool
    """Whether those compute dB and dC apart from the rest, in fewer registers."""
    warps: int
    read_stages: int
    """Blocks of heads whose tensors `read_gradients` has in shared memory."""
    write_stages: int
    """Blocks of heads whose tensors `write_gradients` has in shared memory."""
    walk_warps: int
    """Of `walk_states`, and of `add_up` for it."""
    walk_stages: int
    pass_stages: int
    """Of `add_up`, which needs fewer tensors."""


class BackwardPlan(NamedTuple):
    """How the work of the backward pass is divided."""

    tiles: BackwardTiles
    blocks: int
    """Blocks of a head."""
    state_tiles: int
    """Tiles of a state, for each of which `walk_states` has a program."""
    chunks: int
    split_chunks: int
    splits: int
    parts: int
    """Parts of the heads of a group, for each of which there are programs."""
    across: int | None
    """Heads across whose gradients of x, before they are written, is the state of the first of
    them; None if all states are apart from these."""

    @property
    def split_steps(self) -> int:
        """Steps of a split."""
        return self.split_chunks * self.tiles.chunk


class Plan(NamedTuple):
    """How the work is divided."""

    tiles: Tiles
    blocks: int
    """Blocks of a head."""
    chunks: int
    """Chunks of the length; the last may have fewer steps."""
    split_chunks: int
    splits: int

    @property
    def split_steps(self) -> int:
        """Steps of a split."""
        return self.split_chunks * self.tiles.chunk


def choose_tiles(head_dim: int, d_state: int, itemsize: int) -> Tiles:
    """Choose the sizes of tiles by what fits in registers and shared memory.

    Args:
        head_dim: features of a head.
        d_state: the state dimension.
        itemsize: bytes of an element of x.
    """
    features, states = _filled_up(head_dim), _filled_up(d_state)
    if itemsize == 4:  # each product is three of tensor cores, whose operands take registers
        if features >= 64:
            stages = 1 if states > 64 else 2
            return Tiles(32, 64, states, min(states, 32), 4, stages, stages)
        if states > 128:
            return Tiles(16, 16, states, 32, 4, 1, 1)
        return Tiles(32, min(features, 32), states, states, 8, 1, 1)
    if states > 128:
        return Tiles(32, min(features, 64), states, 128, 4, 2, 4)
    if states > 64:
        return Tiles(64, min(features, 64), states, states, 4, 2, 4)
    return Tiles(64, min(features, 64), states, states, 4, 3, 4, is_early=True)


@lru_cache
def choose_plan(shape: SSDShape, itemsize: int, multiprocessors: int | None) -> Plan:
    """Choose the number of splits with which `walk` should end first.

    Long splits have whole chunks of the backward pass, which can then have the same splits.

    Args:
        shape: sizes of the scan.
        itemsize: bytes of an element of x.
        multiprocessors: of the GPU; None for Triton's interpreter, which runs the programs one
            after another, so that the fewest are best.
    """
    tiles = choose_tiles(shape.head_dim, shape.d_state, itemsize)
    chunks = -(-shape.length // tiles.chunk)
    if multiprocessors is None:
        return make_plan(shape, tiles, chunks)
    programs = shape.batch * shape.n_heads * -(-shape.head_dim // tiles.block)
    that_fit = multiprocessors * WARPS_THAT_FIT // tiles.warps
    split_chunks = _choose_split_chunks(programs, chunks, that_fit, PASS_COST)
    backward_chunk = choose_backward_tiles(shape.head_dim, shape.d_state, itemsize).chunk
    of_backward = backward_chunk // tiles.chunk
    if split_chunks >= MANY_CHUNKS * of_backward:
        split_chunks = -(-split_chunks // of_backward) * of_backward
    return make_plan(shape, tiles, split_chunks)


def _choose_split_chunks(programs: int, chunks: int, that_fit: int, pass_cost: float) -> int:
    """Choose the chunks of a split, with which a walk and the pass before it end first."""
    candidates = [(programs_chunks(programs, chunks, chunks, that_fit), 1, chunks)]
    for splits in range(2, min(chunks, MAX_WAVES * that_fit // programs) + 1):
        split_chunks = -(-chunks // splits)
        cost = programs_chunks(programs, chunks, split_chunks, that_fit)
        candidates.append((PASS_CHUNKS + (1 + pass_cost) * cost, splits, split_chunks))
    _, _, split_chunks = min(candidates)
    return split_chunks


def make_plan(shape: SSDShape, tiles: Tiles, split_chunks: int) -> Plan:
    """Work out the plan with these choices.

    Args:
        shape: sizes of the scan.
        tiles: sizes of tiles.
        split_chunks: chunks of a split.
    """
    chunks = -(-shape.length // tiles.chunk)
    return Plan(tiles, -(-shape.head_dim // tiles.block), chunks, split_chunks,
                -(-chunks // split_chunks))


def plan_of_gate(shape: SSDShape, plan: Plan, itemsize: int) -> Plan:
    """Work out the plan of the gate's backward pass, which has the splits of the forward pass.

    In half precision it has more tensors in shared memory and in registers than the forward pass.
    Where the state has more than 128 components its chunks are shorter: with 32 steps it would
    spill registers, and take longer. Up to 64 components the state is updated last, since the other
    order would spill registers, too. From 33 to 64 components, two chunks are in flight in place of
    three, so that two programs fit on a multiprocessor.

    Args:
        shape: sizes of the scan.
        plan: that of the forward pass.
        itemsize: bytes of an element of x.
    """
    tiles = plan.tiles
    if itemsize == 4:
        return plan
    if tiles.states > 128:
        tiles = tiles._replace(chunk=SMALLEST, slice=tiles.states, stages=3)
        return make_plan(shape, tiles, plan.split_steps // SMALLEST)
    stages = 2 if tiles.states > 32 else 3
    return plan._replace(tiles=tiles._replace(stages=stages, is_early=False))


def choose_backward_tiles(head_dim: int, d_state: int, itemsize: int) -> BackwardTiles:
    """Choose the sizes of tiles for the backward pass, as `choose_tiles` does for the forward.

    Args:
        head_dim: features of a head.
        d_state: the state dimension.
        itemsize: bytes of an element of x.
    """
    features, states = _filled_up(head_dim), _filled_up(d_state)
    if itemsize == 4:
        return BackwardTiles(64, min(features, 32), states, min(states, 64), min(states, 32), True,
                             4, 2, 2, 4, 2, 2)
    if states > 128:  # taken at once, a state needs 8 warps, and all registers of a multiprocessor
        return BackwardTiles(64, min(features, 64), states, 64, 128, True, 4, 3, 3, 4, 3, 4)
    write_stages = 2 if states > 64 else 3  # as many as leave room for two programs
    return BackwardTiles(64, min(features, 64), states, states, states, False, 4, 3, write_stages,
                         4, 3, 4)


@lru_cache
def choose_backward_plan(shape: SSDShape, itemsize: int,
                         multiprocessors: int | None) -> BackwardPlan:
    """Choose the numbers of splits and parts with which the backward pass should end first.

    If the forward pass has several splits of whole chunks of the backward pass, this takes the same
    splits: that it then needn't compute the states that enter them gains more than any other number
    of splits.

    Args:
        shape: sizes of the scan.
        itemsize: bytes of an element of x.
        multiprocessors: of the GPU; None for Triton's interpreter.
    """
    tiles = choose_backward_tiles(shape.head_dim, shape.d_state, itemsize)
    chunks = -(-shape.length // tiles.chunk)
    if multiprocessors is None:
        return make_backward_plan(shape, tiles, chunks, 1)
    blocks = -(-shape.head_dim // tiles.block)
    rows = shape.batch * shape.n_heads * blocks
    split_chunks, rest = divmod(choose_plan(shape, itemsize, multiprocessors).split_steps,
                                tiles.chunk)
    if rest or split_chunks >= chunks:  # of no use, or one split
        tiles = tiles._replace(columns=_choose_columns(rows, tiles, multiprocessors))
        walks = rows * (tiles.states // tiles.columns)
        split_chunks = _choose_split_chunks(walks, chunks, walks_that_fit(tiles, multiprocessors),
                                            WALK_PASS_COST)
    else:
        walks = rows * -(-chunks // split_chunks)
        tiles = tiles._replace(columns=_choose_columns(walks, tiles, multiprocessors))
    programs = shape.batch * chunks * shape.n_groups
    that_fit = multiprocessors * WARPS_THAT_FIT // tiles.warps
    of_group = shape.n_heads // shape.n_groups * blocks
    parts = min(range(1, min(of_group, max(1, MAX_WAVES * that_fit // programs)) + 1),
                key=lambda parts: -(-programs * parts // that_fit) * (
                    PART_BLOCKS + -(-of_group // parts)))
    return make_backward_plan(shape, tiles, split_chunks, parts)


def save_stages(tiles: BackwardTiles, capability: tuple[int, int]) -> int:
    """Choose the chunks in flight of `walk_states` where it writes states, not their gradients.

    Args:
        tiles: sizes of tiles.
        capability: compute capability of the GPU. For that of a B200, 10.0, Triton 3.6 and 3.7 fail
            to compile the loop with more than one chunk.
    """
    return 1 if capability[0] == 10 else tiles.walk_stages


def walks_that_fit(tiles: BackwardTiles, multiprocessors: int) -> int:
    """Work out how many programs of `walk_states` run at once.

    Args:
        tiles: sizes of tiles.
        multiprocessors: of the GPU.
    """
    return multiprocessors * WALK_WARPS_THAT_FIT // tiles.walk_warps


def _choose_columns(walks: int, tiles: BackwardTiles, multiprocessors: int) -> int:
    """Choose the widest tiles of a state, at least NARROWEST, that fill the GPU with programs; the
    widest of all if none does. `walks` is how many there would be with one tile per state."""
    columns = tiles.columns
    while columns >= NARROWEST:
        if walks * (tiles.states // columns) >= WALKS_THAT_FILL * multiprocessors:
            return columns
        columns //= 2
    return tiles.columns


def make_backward_plan(shape: SSDShape, tiles: BackwardTiles, split_chunks: int,
                       parts: int) -> BackwardPlan:
    """Work out the plan of the backward pass with these choices.

    Args:
        shape: sizes of the scan.
        tiles: sizes of tiles.
        split_chunks: chunks of a split.
        parts: parts of the heads of a group.
    """
    blocks = -(-shape.head_dim // tiles.block)
    chunks = -(-shape.length // tiles.chunk)
    return BackwardPlan(tiles, blocks, blocks * (tiles.states // tiles.columns), chunks,
                        split_chunks, -(-chunks // split_chunks), parts,
                        _choose_across(shape, tiles, parts))


def _choose_across(shape: SSDShape, tiles: BackwardTiles, parts: int) -> int | None:
    """Choose the heads across whose gradients of x a state fits.

    A program writes these after it has read the state. None if another program writes some of
    them, or if a chunk doesn't have as many steps as a head has features.
    """
    across = -(-tiles.states // shape.head_dim)
    of_group = shape.n_heads // shape.n_groups
    of_part = -(-of_group // parts)
    fits = tiles.block == tiles.chunk == shape.head_dim and shape.length % tiles.chunk == 0
    return across if fits and of_group % across == of_part % across == 0 else None


def programs_chunks(programs: int, chunks: int, split_chunks: int, that_fit: int) -> int:
    """Count the chunks until all programs are done; those that don't fit wait for a next wave.

    Args:
        programs: how many there are for one split.
        chunks: of the length.
        split_chunks: chunks of a split.
        that_fit: programs that run at once.
    """
    splits = -(-chunks // split_chunks)
    return -(-programs * splits // that_fit) * split_chunks


@lru_cache
def multiprocessors_of(device: torch.device) -> int | None:
    """Count the multiprocessors of a GPU.

    Args:
        device: the GPU, or the CPU for Triton's interpreter.

    Returns:
        Their number; None for the CPU.
    """
    if device.type != "cuda":
        return None
    return torch.cuda.get_device_properties(device).multi_processor_count


def _filled_up(size: int) -> int:
    """The power of two, from SMALLEST up, that a size is filled up to with zeros."""
    return max(SMALLEST, 1 << (size - 1).bit_length())
