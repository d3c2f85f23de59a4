"""The plans of the Triton scan on GPUs where nothing was measured, by a simulation of its own.

`choose_plan` adds up waves of programs. Here the programs of a plan are put on the schedulers one
by one, each on the emptiest, as soon as a place is free; those of one scheduler run at once, the
more slowly the more there are.
"""

from itertools import product

import numpy as np
import pytest

from minimamba.scan.triton.operator import _sizes_of_scratch
from minimamba.scan.triton.plan import (
    BACKWARD,
    BACKWARD_FOR_MORE,
    FORWARD,
    FORWARD_FOR_MORE,
    LANES,
    MAX_WAVES,
    PASS_CYCLES,
    PIECE_CYCLES,
    ScanShape,
    backward_costs,
    choose_plan,
    forward_costs,
    make_plan,
)

MULTIPROCESSORS = {"RTX 3060": 28, "L4": 58, "A100": 108, "RTX 4090": 128, "H100": 132}
REGISTERS = 2**16
"""Of a multiprocessor; each lane of a program has its own."""
SCHEDULERS = 4
"""Of a multiprocessor."""
SHAPES = [ScanShape(batch, length, d_inner, d_state, 1) for batch, length, d_inner, d_state
          in product((1, 4, 64), (64, 1000, 2**12, 2**17), (1536, 5120), (16, 32))]
NEAR = 1.25
"""No chosen plan takes longer than this multiple of the shortest time. Found were 1.21 for 4
sequences of 1000 steps, and up to 1.12 elsewhere; the backward costs allow 1.07 to save memory."""
both_directions = pytest.mark.parametrize("is_backward", [False, True],
                                          ids=["forward", "backward"])
every_gpu = pytest.mark.parametrize("gpu", MULTIPROCESSORS)


def costs_of(shape, is_backward):
    return backward_costs(shape.d_state) if is_backward else forward_costs(shape.d_state)


def programs_that_fit(launch):
    """On a scheduler; registers are allocated in units of eight."""
    registers = -(-launch.max_registers // 8) * 8
    return REGISTERS // SCHEDULERS // LANES // registers


def cycles(steps, cycles_per_step, schedulers):
    """Simulate programs that take so many steps, in the order of their launch.

    `cycles_per_step` is for 1, 2, … programs on a scheduler; as many fit.
    """
    steps = np.asarray(steps, float)
    speed = 1 / np.array([np.inf, *cycles_per_step])         # of each, for 0, 1, … on a scheduler
    left = np.full((schedulers, len(cycles_per_step)), np.inf)
    launched, clock = 0, 0.0
    while True:
        left.sort(1)                                         # free places, infinite, come last
        place, scheduler = np.nonzero(np.isinf(left.T))      # those of the emptiest come first
        starting = steps[launched:launched + len(place)]
        left[scheduler[:len(starting)], place[:len(starting)]] = starting
        launched += len(starting)
        programs = np.isfinite(left).sum(1)
        if not programs.any():
            return clock
        busy = programs > 0
        speeds = speed[programs[busy], None]
        time = (left[busy] / speeds).min()
        clock += time
        left[busy] -= time * speeds
        left[left <= steps.max() / 100] = np.inf             # what ends at nearly the same time


def spans(launch, steps, length):
    """First and last step + 1 of each program along the grid's second axis."""
    return [(i * steps, min((i + 1) * steps, length)) for i in range(launch.grid[1])]


def simulated(shape, plan, costs, is_backward, schedulers):
    """Cycles of the carry pass and the scan."""
    blocks, _, batch = plan.kernel.grid
    per_step = dict(costs.kernel)[plan.kernel.channels_per_lane]
    steps = np.diff(spans(plan.kernel, plan.split_steps, shape.length), axis=1)[:, 0].astype(float)
    carrying = 0
    if plan.carry:
        carrying = PASS_CYCLES + cycles([plan.piece_steps] * np.prod(plan.carry.grid), costs.carry,
                                        schedulers)
        before = np.arange(len(steps)) * plan.pieces_per_split * PIECE_CYCLES / per_step[0]
        steps += before[::-1] if is_backward else before
    return carrying + cycles(np.tile(np.repeat(steps, blocks), batch), per_step, schedulers)


def at_least(shape, plan, costs, schedulers):
    """Cycles that no order of the programs beats: a plan that can't win needn't be simulated."""
    def bound(launch, steps, per_step):
        most = max(count / each for count, each in enumerate(per_step, 1))
        return max(np.prod(launch.grid) * steps / schedulers / most, steps * per_step[0])

    steps = min(plan.split_steps, shape.length / plan.kernel.grid[1])
    kernel = bound(plan.kernel, steps, dict(costs.kernel)[plan.kernel.channels_per_lane])
    if plan.carry is None:
        return kernel
    return PASS_CYCLES + kernel + bound(plan.carry, plan.piece_steps, costs.carry)


def all_plans(shape, costs, schedulers):
    """All splits and channels per lane that `choose_plan` weighs, with some of the pieces."""
    for channels, per_step in costs.kernel:
        programs = shape.batch * shape.blocks(channels)
        most_splits = max(1, MAX_WAVES * schedulers * len(per_step) // programs)
        for chunks in {-(-shape.chunks // splits) for splits
                       in range(1, min(most_splits, shape.chunks) + 1)}:
            yield from (make_plan(shape, costs, channels, chunks, pieces)
                        for pieces in (1, 2, 4, 8, 16) if chunks % pieces == 0)


def assert_each_once(intervals, size):
    """The intervals, in order, are 0 to `size` without gap, overlap or empty ones."""
    begins, ends = zip(*intervals, strict=True)
    assert (0, *ends) == (*begins, size)
    assert all(begin < end for begin, end in intervals)


def channels_of(launch, shape):
    """The channels of each program along the grid's first axis, as `locate_block` finds them."""
    size, group_size = launch.channels_per_lane * LANES // shape.tile, shape.d_inner // shape.groups
    blocks = -(-group_size // size)
    for i in range(launch.grid[0]):
        first = i // blocks * group_size + i % blocks * size
        yield first, min(first + size, (i // blocks + 1) * group_size)


@both_directions
@every_gpu
def test_plan_covers_every_step_and_channel_once(gpu, is_backward):
    for shape in (*SHAPES, ScanShape(2, 4999, 1544, 16, 8)):
        plan = choose_plan(shape, costs_of(shape, is_backward), SCHEDULERS * MULTIPROCESSORS[gpu])
        assert plan.kernel.grid[2] == shape.batch
        assert_each_once(list(channels_of(plan.kernel, shape)), shape.d_inner)
        assert_each_once(spans(plan.kernel, plan.split_steps, shape.length), shape.length)
        if plan.carry:
            assert plan.carry.grid[2] == shape.batch
            assert_each_once(list(channels_of(plan.carry, shape)), shape.d_inner)
            # All splits but one.
            steps = (plan.kernel.grid[1] - 1) * plan.split_steps
            assert_each_once(spans(plan.carry, plan.piece_steps, steps), steps)
            assert plan.split_steps == plan.pieces_per_split * plan.piece_steps


@pytest.mark.parametrize("costs", [FORWARD, *FORWARD_FOR_MORE.values(),
                                   BACKWARD, *BACKWARD_FOR_MORE.values()])
def test_registers_hold_as_many_programs_as_the_costs_are_for(costs):
    shape = ScanShape(1, 2**12, 1536, 16, 1)
    for channels, per_step in costs.kernel:
        plan = make_plan(shape, costs, channels, 2, 1)
        assert programs_that_fit(plan.kernel) == len(per_step)
        assert programs_that_fit(plan.carry) == len(costs.carry)


@both_directions
@every_gpu
def test_no_plan_is_much_faster_in_a_simulation(gpu, is_backward):
    schedulers = SCHEDULERS * MULTIPROCESSORS[gpu]
    for shape in SHAPES:
        costs = costs_of(shape, is_backward)
        plan = choose_plan(shape, costs, schedulers)
        time = simulated(shape, plan, costs, is_backward, schedulers)
        for other in all_plans(shape, costs, schedulers):
            if NEAR * at_least(shape, other, costs, schedulers) < time:
                least = simulated(shape, other, costs, is_backward, schedulers)
                assert time <= NEAR * least, (shape, plan, other)


@both_directions
@every_gpu
def test_long_sequences_fill_the_gpu_and_splits_need_little_memory(gpu, is_backward):
    schedulers = SCHEDULERS * MULTIPROCESSORS[gpu]
    for shape in SHAPES:
        plan = choose_plan(shape, costs_of(shape, is_backward), schedulers)
        _, splits, _ = plan.kernel.grid
        channels = shape.batch * shape.d_inner
        pieces = plan.carry.grid[1] if plan.carry else 0
        room = pieces * channels * shape.d_state             # numbers in float32
        if is_backward:
            room += sum(filter(None, _sizes_of_scratch(shape, splits).values()))
        if shape.length >= 2**12:
            assert np.prod(plan.kernel.grid) >= schedulers
            assert room <= 1.6 * channels * shape.length     # which is the size of y
        if splits > 1:
            assert 4 * room < 1.1 * 2**26
