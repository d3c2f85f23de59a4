"""Measure what the plans of the Triton scan weigh on this GPU, and print it for `plan.py`.

Usage: python benchmarks/tune_plan.py
Needs an NVIDIA GPU, with 8 GB of memory, and nvidia-smi; takes a few minutes.

First it prints FORWARD, BACKWARD, FORWARD_FOR_MORE and BACKWARD_FOR_MORE as measured, ready to
paste into `minimamba/scan/triton/plan.py`: the cycles per step of each kernel with 1, 2, … programs
on every scheduler of the GPU. A kernel is launched alone, in bfloat16 with D, z, a bias and
softplus, with exactly so many programs, and its time is multiplied by the clock of the
multiprocessors, which nvidia-smi reads while the kernel runs again and again:
`torch.cuda.clock_rate` needs a package that PyTorch doesn't bring. The GPU is trusted to spread the
programs evenly over its schedulers.

Then, for a few shapes, it prints the time of the plan that today's costs choose, of the one that
the measured costs choose, and of the fastest among these and a few others: "channels per lane ×
splits × pieces per split", with the passes before and after the kernel.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from unittest.mock import patch

import torch
from fused_scan import forget_plans, inputs, milliseconds, ours
from machine import describe
from torch import Tensor

from minimamba.ops.launch import Launcher
from minimamba.scan.triton import operator, plan
from minimamba.scan.triton.plan import (
    CHUNK,
    LANES,
    SCHEDULERS_PER_MULTIPROCESSOR,
    Costs,
    Plan,
    ScanShape,
    choose_plan,
    make_plan,
)

STEPS = 64 * CHUNK
"""Steps that each program walks through when cycles are measured: so many that starting the kernel
hardly counts."""
KERNELS = {"forward": "carry", "backward": "carry_back"}
"""The kernel of each direction, and that of its carry pass."""
TODAY = {"forward": plan.forward_costs, "backward": plan.backward_costs}
"""Where `plan.py` looks up the costs of each direction, given d_state."""
SHAPES = [ScanShape(*shape, groups=1) for shape in (
    (2, 512, 1536, 16), (8, 2048, 1536, 16), (1, 4096, 5120, 16), (1, 65536, 1536, 16),
    (8, 2048, 1536, 32))]
SPLITS = [1, 2, 4, 8, 16, 32]
"""Splits of the other plans."""


def measured(way: str, d_state: int, schedulers: int,
             cycles: Callable[[str, str, ScanShape, Plan], float]) -> Costs:
    """Measure the costs of one direction.

    Args:
        way: "forward" or "backward".
        d_state: the state dimension, a power of two.
        schedulers: warp schedulers of the GPU.
        cycles: given `way`, a kernel, a shape and a plan, how many cycles that kernel runs.

    Returns:
        Today's costs, with the measured cycles in the place of theirs.
    """
    costs = TODAY[way](d_state)

    def per_step(kernel: str, channels: int, most: int, splits: int) -> tuple[int, ...]:
        """Cycles with 1, 2, … programs on each scheduler: from a batch so large, each sequence
        with as many blocks of channels as the GPU has multiprocessors."""
        blocks = schedulers // SCHEDULERS_PER_MULTIPROCESSOR
        found = []
        for programs in range(1, most + 1):
            batch = SCHEDULERS_PER_MULTIPROCESSOR * programs
            shape = ScanShape(batch, splits * STEPS, 0, d_state, 1)
            shape = shape._replace(d_inner=blocks * channels * LANES // shape.tile)
            channels_of_kernel = costs.kernel[0][0] if splits > 1 else channels
            division = make_plan(shape, costs, channels_of_kernel, STEPS // shape.chunk, 1)
            found.append(round(cycles(way, kernel, shape, division) / STEPS))
        return tuple(found)

    # Of two splits, the carry pass walks through one.
    return costs._replace(
        kernel=tuple((channels, per_step(way, channels, len(today), 1))
                     for channels, today in costs.kernel),
        carry=per_step(KERNELS[way], costs.carry_channels, len(costs.carry), 2))


def as_source(name: str, costs: Costs | dict[int, Costs]) -> str:
    """Write costs, or a dictionary of them, as `plan.py` does."""
    if isinstance(costs, Costs):
        return f"{name} = {_as_call(costs)}"
    begin = f"{name} = {{"
    entries = [f"{d_state}: {_as_call(each)}" for d_state, each in costs.items()]
    return begin + f",\n{' ' * len(begin)}".join(entries) + "}"


def _as_call(costs: Costs) -> str:
    return f"Costs({', '.join(map(str, costs[:-1]))}, {_fraction(costs.slack)})"


def _fraction(number: float) -> str:
    numerator, denominator = Fraction(number).limit_denominator(100).as_integer_ratio()
    return str(numerator) if denominator == 1 else f"{numerator} / {denominator}"


def recorded(run: Callable[[], object]) -> dict[str, Callable[[], None]]:
    """Run something that calls the scan, and return its launches, by the name of the kernel."""
    launches = {}

    class Recorder(Launcher):
        def __init__(self, kernel: Callable, *args, **options) -> None:
            super().__init__(kernel, *args, **options)
            self.name = kernel.__name__

        def __call__(self, *tensors: Tensor | None) -> None:
            launches[self.name] = partial(super().__call__, *tensors)
            super().__call__(*tensors)

    forget_plans()
    with patch.object(operator, "Launcher", Recorder):
        run()
    forget_plans()
    return launches


@contextmanager
def with_plan(costs: Costs, division: Plan) -> Iterator[None]:
    """Have `division` chosen where `costs` are weighed."""
    def choose(shape: ScanShape, weighed: Costs, schedulers: int | None) -> Plan:
        return division if weighed is costs else choose_plan(shape, weighed, schedulers)

    forget_plans()
    try:
        with patch.object(operator, "choose_plan", choose):
            yield
    finally:
        forget_plans()


def calls_of(shape: ScanShape) -> dict[str, Callable[[], object]]:
    """The passes over random inputs, forward and backward."""
    calls = ours(inputs(shape.batch, shape.length, shape.d_inner, torch.bfloat16, shape.d_state))
    return {way: calls[way] for way in KERNELS}


def cycles_on_gpu(way: str, kernel: str, shape: ScanShape, division: Plan) -> float:
    """Cycles that one kernel of a plan runs: the argument `cycles` of `measured`."""
    if kernel == "backward" and shape.is_in_parts:
        kernel = "backward_in_parts"
    with with_plan(TODAY[way](shape.d_state), division):
        call = recorded(calls_of(shape)[way])[kernel]
    return milliseconds(call) / 1e3 * clock_during(call)


def clock_during(call: Callable[[], object]) -> float:
    """Cycles per second of the multiprocessors while the GPU does nothing but this call."""
    uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    command = ["nvidia-smi", f"--id=GPU-{uuid}", "--query-gpu=clocks.sm",
               "--format=csv,noheader,nounits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as query:
        while query.poll() is None:
            call()
            torch.cuda.synchronize()
        printed = query.stdout.read().strip()
    if not printed.isdecimal():
        raise RuntimeError(f"nvidia-smi should print the clock in MHz; it printed: {printed!r}")
    return 1e6 * int(printed)


def other_plans(shape: ScanShape, costs: Costs) -> Iterator[Plan]:
    """A few plans, by channels per lane and splits, that may be faster than the chosen ones."""
    for channels, _ in costs.kernel:
        for splits in SPLITS:
            chunks = -(-shape.chunks // splits)
            if -(-shape.chunks // chunks) == splits:
                pieces = max(p for p in (1, 2, 4) if chunks % p == 0)
                yield make_plan(shape, costs, channels, chunks, pieces)


def compare(shape: ScanShape, way: str, today: Costs, new: Costs, schedulers: int,
            seconds: Callable[[Plan], float]) -> str:
    """Describe the plans that both costs choose, and the fastest, with their times.

    Args:
        shape: sizes of the scan.
        way: "forward" or "backward".
        today: costs in `plan.py`.
        new: measured costs.
        schedulers: warp schedulers of the GPU.
        seconds: how long a pass takes with a plan.
    """
    chosen = {"today's costs": choose_plan(shape, today, schedulers),
              "measured costs": choose_plan(shape, new, schedulers)}
    divisions = dict.fromkeys([*chosen.values(), *other_plans(shape, today)])
    times = {division: seconds(division) for division in divisions}
    chosen[f"fastest of {len(times)}"] = min(times, key=times.get)
    rows = [f"  {name:16} {_in_words(division):>12} {1e3 * times[division]:9.3f} ms"
            for name, division in chosen.items()]
    return "\n".join([f"{way} {tuple(shape[:4])}", *rows])


def _in_words(division: Plan) -> str:
    _, splits, _ = division.kernel.grid
    return f"{division.kernel.channels_per_lane} × {splits} × {division.pieces_per_split}"


def main() -> None:
    """Print the measured costs and the comparison of plans."""
    schedulers = plan.schedulers_of(torch.device("cuda"))
    print(f"# {describe('cuda')}, {schedulers} schedulers")
    new = {}
    for way in KERNELS:
        new[way, 16] = measured(way, 16, schedulers, cycles_on_gpu)
        print(as_source(way.upper(), new[way, 16]), flush=True)
    for way in KERNELS:
        name = f"{way.upper()}_FOR_MORE"
        more = {d_state: measured(way, d_state, schedulers, cycles_on_gpu)
                for d_state in getattr(plan, name)}
        print(as_source(name, more), flush=True)
        new |= {(way, d_state): costs for d_state, costs in more.items()}
    for shape in SHAPES:
        calls = calls_of(shape)
        for way in KERNELS:
            today = TODAY[way](shape.d_state)

            def seconds(division: Plan, today: Costs = today, call=calls[way]) -> float:
                with with_plan(today, division):
                    return milliseconds(call) / 1e3

            print(compare(shape, way, today, new[way, shape.d_state], schedulers,
                          seconds), flush=True)


if __name__ == "__main__":
    main()
