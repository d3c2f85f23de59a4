"""How a scan is divided among the programs of a GPU: `choose_plan`, and the costs it weighs.

| word | meaning in this package |
|---|---|
| program | one instance of a kernel: a warp of 32 lanes that walks along time by itself |
| lane | one of the 32 threads of a program |
| block | the neighbouring channels of one sequence that a program owns, with all their states |
| tile | a few consecutive steps (TILE, at most 4) of a block; as many lanes share each channel |
| chunk | CHUNK = 64 consecutive steps; `forward` saves the state before each for `backward` |
| | for more than 16 states several times 64 (`ScanShape.chunk`), so that not more is saved |
| section | 64 steps of such a chunk |
| part | PART = 16 of the states of each channel, if there are more |
| band | the parts that stay in registers together: BAND = 32 of the states, or all |
| split | whole chunks that one program of `forward` or `backward` walks through |
| piece | an equal part of a split, also whole chunks, for one program of `carry` or `carry_back` |

One split is the whole length, where batch and channels make enough programs to fill the GPU. More
splits cost a second pass over the sequence, the carry pass, which finds the state that enters each
split (`forward.py`, `backward.py`).

All numbers of cycles are those of NVIDIA's H100 and H200 (compute capability 9.0). On any other
GPU the same numbers are used, with that GPU's number of schedulers: a plan changes the time, but
the result only by rounding, and the choice depends on ratios of the numbers alone. No other GPU
was measured: `benchmarks/tune_plan.py` measures the one that it runs on, and prints costs to paste
here and what they would gain. Triton's interpreter runs programs one after another, so there a
plan has as few as possible.
"""

from functools import lru_cache
from typing import NamedTuple

import torch

LANES = 32
CHUNK = 64
MAX_TILE = 4
PART = 16
"""States of a part: each lane holds four of a channel's."""
BAND = 32
"""States that `backward_in_parts` works on at a time."""
MAX_SECTIONS = 4
"""Sections of the longest chunk; the states before them need room, too."""
SCHEDULERS_PER_MULTIPROCESSOR = 4
REGISTERS_PER_SCHEDULER = 512
"""Registers of one scheduler for one lane, shared by its programs; so on all NVIDIA GPUs from
compute capability 7.0 to 12.0."""
MAX_REGISTERS = 255
"""Registers that one lane can address."""
PASS_CYCLES = 200 * CHUNK
"""Cycles that launching one more pass takes."""
PIECE_CYCLES = 7 * CHUNK
"""Cycles that carrying the state through one piece takes at the start of a program."""
MAX_PIECES = 32
"""Pieces per split that are tried."""
MAX_WAVES = 4
"""Times all programs that fit run at once; beyond, more splits only cost."""


class Costs(NamedTuple):
    """Cycles per step of the kernels of one direction, as `benchmarks/predict_kernels.py` finds
    them in the machine code.

    Each tuple of cycles is for 1, 2, … programs on one scheduler. Its length is the number of
    programs that should fit on a scheduler: the compiler is told how many registers that leaves
    each. It then puts more instructions between a load and its use; untold, it would save
    registers for programs that don't come.
    """

    kernel: tuple[tuple[int, tuple[int, ...]], ...]
    """Cycles of `forward` or `backward`, for each number of channels per lane."""
    carry: tuple[int, ...]
    """Cycles of `carry` or `carry_back`."""
    carry_channels: int
    """Channels of each lane there."""
    slack: float
    """By what fraction a plan may take longer than the fastest if it has fewer splits, each of
    which needs memory for states."""


FORWARD = Costs(((2, (154, 209, 293)), (4, (259, 389))), (109, 155, 231, 299), 2, 0)
BACKWARD = Costs(((1, (292, 420, 560)), (2, (440, 654))), (118, 170, 254, 330), 2, 1 / 15)
FORWARD_FOR_MORE = {32: Costs(((1, (171, 241, 330)), (2, (261, 390))), (117, 164, 230, 299), 1, 0),
                    64: Costs(((1, (328, 447, 620)),), (196, 295, 443, 573), 1, 0),
                    128: Costs(((1, (554, 861)),), (363, 562, 857), 1, 0),
                    256: Costs(((1, (1919, 2308)),), (686, 1129), 1, 0)}
"""Of `forward` and `carry` for more than 16 states, by d_state. With 256 the registers don't
suffice, and some states wait in memory."""
BACKWARD_FOR_MORE = {32: Costs(((1, (567, 793, 1091)),), (121, 169, 243, 319), 1, 1 / 15),
                     64: Costs(((1, (1254, 1728, 2351)),), (213, 311, 455, 592), 1, 1 / 15),
                     128: Costs(((1, (2396, 3359, 4592)),), (367, 579, 873), 1, 1 / 15),
                     256: Costs(((1, (4706, 6538, 9131)),), (700, 1133), 1, 1 / 15)}
"""Of `backward_in_parts` and `carry_back`."""


class ScanShape(NamedTuple):
    """The sizes of a scan."""

    batch: int
    length: int
    d_inner: int
    d_state: int
    groups: int

    @property
    def chunk(self) -> int:
        """Steps of a chunk."""
        return CHUNK * min(MAX_SECTIONS, max(1, self.d_state // PART))

    @property
    def chunks(self) -> int:
        """Chunks of the length, the last perhaps not full."""
        return -(-self.length // self.chunk)

    @property
    def sections(self) -> int:
        """Sections of the length, the last perhaps not full."""
        return -(-self.length // CHUNK)

    @property
    def is_in_parts(self) -> bool:
        """Whether `backward_in_parts` takes the place of `backward`."""
        return self.d_state > PART

    @property
    def band(self) -> int:
        """States that the backward kernel works on at a time."""
        return min(BAND, self.d_state)

    @property
    def tile(self) -> int:
        """Steps of a tile, and lanes that share a channel."""
        return min(MAX_TILE, self.d_state)

    def blocks(self, channels_per_lane: int) -> int:
        """Count the blocks of channels of one sequence; none has channels of two groups.

        Args:
            channels_per_lane: how many a lane holds.
        """
        channels = channels_per_lane * LANES // self.tile
        return self.groups * -(-self.d_inner // self.groups // channels)


class Launch(NamedTuple):
    """The programs of one kernel."""

    grid: tuple[int, int, int]
    """(blocks of channels, splits or pieces, batch)."""
    channels_per_lane: int
    max_registers: int
    """Registers of a lane that the compiler may use."""


class Plan(NamedTuple):
    """How the work of one direction of a scan is divided."""

    kernel: Launch
    """`forward` or `backward`."""
    carry: Launch | None
    """`carry` or `carry_back`; None where there is one split."""
    split_steps: int
    piece_steps: int
    pieces_per_split: int
    """0 where there is one split."""


def make_plan(shape: ScanShape, costs: Costs, channels_per_lane: int, chunks_per_split: int,
              pieces_per_split: int) -> Plan:
    """Work out the plan with these three choices.

    Args:
        shape: sizes of the scan.
        costs: from `forward_costs` or `backward_costs`.
        channels_per_lane: one that `costs.kernel` lists.
        chunks_per_split: length of a split in chunks.
        pieces_per_split: a divisor of `chunks_per_split`; not used if there is one split.
    """
    splits = -(-shape.chunks // chunks_per_split)
    programs_that_fit = len(dict(costs.kernel)[channels_per_lane])
    kernel = Launch((shape.blocks(channels_per_lane), splits, shape.batch), channels_per_lane,
                    max_registers(programs_that_fit))
    split_steps = chunks_per_split * shape.chunk
    if splits == 1:
        return Plan(kernel, None, split_steps, 0, 0)
    carry = Launch((shape.blocks(costs.carry_channels), (splits - 1) * pieces_per_split,
                    shape.batch), costs.carry_channels, max_registers(len(costs.carry)))
    return Plan(kernel, carry, split_steps, split_steps // pieces_per_split, pieces_per_split)


def forward_costs(d_state: int) -> Costs:
    """Look up the costs of `forward` and `carry`.

    Args:
        d_state: the state dimension, a power of two.
    """
    return FORWARD_FOR_MORE.get(d_state, FORWARD)


def backward_costs(d_state: int) -> Costs:
    """Look up the costs of `backward` or `backward_in_parts`, and `carry_back`.

    Args:
        d_state: the state dimension, a power of two.
    """
    return BACKWARD_FOR_MORE.get(d_state, BACKWARD)


@lru_cache
def choose_plan(shape: ScanShape, costs: Costs, schedulers: int | None) -> Plan:
    """Choose the plan that should end first, by `costs`.

    Args:
        shape: sizes of the scan.
        costs: from `forward_costs` or `backward_costs`.
        schedulers: warp schedulers of the GPU; None for Triton's interpreter, which runs the
            programs one after another, so that the fewest are best.
    """
    if schedulers is None:
        most_channels, _ = costs.kernel[-1]
        return make_plan(shape, costs, most_channels, shape.chunks, 0)
    candidates = _candidates(shape, costs, schedulers)
    longest = min(cycles for cycles, *_ in candidates) * (1 + costs.slack)
    _, pieces, channels, chunks_per_split = min(
        choice for cycles, *choice in candidates if cycles <= longest)
    return make_plan(shape, costs, channels, chunks_per_split, pieces)


def schedulers_of(device: torch.device) -> int | None:
    """Count the warp schedulers of a GPU.

    Args:
        device: the GPU, or the CPU for Triton's interpreter.

    Returns:
        Their number; None for the CPU.
    """
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return SCHEDULERS_PER_MULTIPROCESSOR * properties.multi_processor_count


def _candidates(shape: ScanShape, costs: Costs,
                schedulers: int) -> list[tuple[int, int, int, int, int]]:
    """Plans worth weighing: (cycles, splits, pieces per split, channels per lane, chunks per
    split)."""
    found = []
    for channels, by_programs in costs.kernel:
        for splits in range(1, shape.chunks + 1):
            chunks = -(-shape.chunks // splits)
            programs = shape.batch * shape.blocks(channels) * splits
            cycles = predicted_cycles(programs, chunks * shape.chunk // CHUNK, by_programs,
                                      schedulers)
            if splits == 1:
                found.append((cycles, 1, 0, channels, chunks))
            else:
                found += [(cycles + _carry_cycles(shape, costs, splits, chunks, pieces, schedulers),
                           splits, pieces, channels, chunks)
                          for pieces in range(1, min(chunks, MAX_PIECES) + 1)
                          if chunks % pieces == 0]
            if programs > MAX_WAVES * schedulers * len(by_programs):
                break
    return found


def predicted_cycles(programs: int, chunks: int, by_programs: tuple[int, ...],
                     schedulers: int) -> int:
    """Predict the cycles until all programs are done; those that don't fit wait for a next wave.

    Args:
        programs: how many there are.
        chunks: how many of CHUNK steps each walks through.
        by_programs: cycles per step with 1, 2, … programs on a scheduler.
        schedulers: warp schedulers of the GPU.
    """
    waves, rest = divmod(programs, schedulers * len(by_programs))
    last = by_programs[-(-rest // schedulers) - 1] if rest else 0
    return chunks * CHUNK * (waves * by_programs[-1] + last)


def _carry_cycles(shape: ScanShape, costs: Costs, splits: int, chunks: int, pieces: int,
                  schedulers: int) -> int:
    """What splits cost: the carry pass, and what each program then carries through the pieces."""
    all_pieces = (splits - 1) * pieces
    programs = shape.batch * shape.blocks(costs.carry_channels) * all_pieces
    return (PASS_CYCLES + all_pieces * PIECE_CYCLES
            + predicted_cycles(programs, chunks // pieces * shape.chunk // CHUNK, costs.carry,
                               schedulers))


def max_registers(programs: int) -> int:
    """Compute how many registers a lane may use if so many programs are to fit on a scheduler.

    Args:
        programs: at least 1.

    Returns:
        A multiple of eight, the unit of allocation, or what one lane can address.
    """
    return min(MAX_REGISTERS, REGISTERS_PER_SCHEDULER // programs // 8 * 8)
