"""Predict the time of the scan kernels from their machine code; no GPU is needed.

Usage: python benchmarks/predict_kernels.py [d_state]
Compiles the kernels for an H100 and simulates one scheduler that executes the
loops of several programs. Each instruction says how many cycles the next one waits, and which of
six barriers it sets or waits for: the fields that Jia et al. 2018 (arXiv:1804.06826) found in
Volta's code, and that Hopper's has too. A result behind a barrier takes LATENCY cycles, and a unit
that several instructions share is busy for a while. Inputs are assumed to be copied ahead in time,
and instructions to be in the cache: this is what the code allows, not a time.
"""

import re
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from minimamba.scan.triton import backward, backward_parts, forward, plan
from minimamba.scan.triton.lanes import RUNTIME_SIZES

SHAPE = plan.ScanShape(batch=8, length=2048, d_inner=1536, d_state=16, groups=1)
SCHEDULERS = 132 * plan.SCHEDULERS_PER_MULTIPROCESSOR
CLOCK = 1.755e9
STEPS_PER_ITERATION = 2 * SHAPE.tile
LATENCY = {"SHFL": 24, "MUFU": 22, "LDS": 30, "LDSM": 33, "F2F": 22, "STS": 20, "LDG": 300,
           "LDGSTS": 60, "S2R": 30, "BAR": 25, "LDGDEPBAR": 20, "LDC": 40, "STG": 20, "REDG": 20}
OTHER = 15
SHARED = ("SHFL", "LDS", "LDSM", "STS", "LDG", "LDGSTS", "STG", "REDG")
"""Instructions of the unit that the schedulers of a multiprocessor share, which takes four cycles
of a scheduler's time for every 128 bytes."""
LONG = ("x_ptr", "delta_ptr", "z_ptr", "y_ptr", "d_out_ptr", "dx_ptr", "d_delta_ptr", "dz_ptr",
        "y_again_ptr")
"""Kernel arguments that may be in half precision."""
USUALLY_NONE = ("initial_state", "piece_states", "piece_deltas", "d_last_state", "y_again_ptr")
"""Kernel arguments that are None in a training step of one split."""


class Instruction(NamedTuple):
    """One machine instruction and its control fields."""

    text: str
    stall: int
    """Cycles until the next instruction may issue."""
    write_barrier: int
    """Barrier that is released when the result is there; 7 is none."""
    read_barrier: int
    """Barrier that is released when the operands have been read; 7 is none."""
    waits_for: int
    """Bits of the barriers that must be released before this one issues."""


def compile_kernel(kernel, channels_per_lane: int, programs: int, *, dtype: str = "bf16",
                   without: tuple[str, ...] | None = None, atomic: bool = True,
                   is_packed: bool = True, run: int = 0, capability: int = 90):
    """Compile a kernel for a GPU, which need not be there.

    Args:
        kernel: `carry`, `forward`, `carry_back`, `backward` or `backward_in_parts`.
        channels_per_lane: the plan's choice.
        programs: how many should fit on a scheduler; decides how many registers one may use.
        dtype: of x, delta and what has their shape, "bf16" or "fp32".
        without: arguments that are None; by default `USUALLY_NONE`.
        atomic: whether several programs add to one place of dB and dC.
        is_packed: whether B and C are in float32 and whole chunks; otherwise they are in `dtype`,
            two parts of one projection.
        run: 0 where channels lie together in x; otherwise RUN in `memory.py`.
        capability: the GPU's compute capability times ten; 90 is that of an H100.
    """
    if without is None:
        without = () if kernel.__name__.startswith("carry") else USUALLY_NONE
    sizes = {"groups": 1, "d_inner": SHAPE.d_inner, "N": SHAPE.d_state, "SOFTPLUS": True,
             "CHUNK": SHAPE.chunk, "SECTION": plan.CHUNK, "PART": plan.PART, "BAND": SHAPE.band,
             "TILE": SHAPE.tile,
             "PER_LANE": channels_per_lane, "ATOMIC": atomic, "PADDED": is_packed, "RUN": run,
             "GROUP": 2 * SHAPE.d_state,
             "STEP": 2 * SHAPE.d_state + (0 if is_packed else SHAPE.d_inner // 32)}
    long = LONG if is_packed else (*LONG, "B_ptr", "C_ptr")
    names = kernel.arg_names
    constants = {name: sizes.get(name) for name in names if name in sizes or name in without}
    signature = {name: "constexpr" if name in constants else "i32" if name in RUNTIME_SIZES
                 else f"*{dtype}" if name in long else "*fp32" for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names)
               if signature[name].startswith("*")}
    options = {"num_warps": 1, "maxnreg": plan.max_registers(programs)}
    return triton.compile(ASTSource(kernel, signature, constants, aligned),
                          target=GPUTarget("cuda", capability, 32), options=options)


def disassembled(cubin: bytes) -> tuple[list[Instruction], dict[int, int]]:
    """The instructions, and from each address to an index among them."""
    reader = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        lines = subprocess.run([reader, "--dump-sass", file.name], check=True, text=True,
                               capture_output=True).stdout.split("\n")
    code, places = [], {}
    for line, below in pairwise(lines):
        first = re.match(r"\s+/\*([0-9a-f]{4,5})\*/\s+(.*?)\s*;\s*/\* 0x[0-9a-f]{16} \*/", line)
        second = re.search(r"/\* (0x[0-9a-f]{16}) \*/", below)
        if first and second:
            control = int(second[1], 16) >> 41
            places[int(first[1], 16)] = len(code)
            code.append(Instruction(re.sub(r"^@!?U?P\w+ ", "", first[2]), control & 15,
                                    control >> 5 & 7, control >> 8 & 7, control >> 11 & 63))
    return code, places


def loops(code: list[Instruction], places: dict[int, int]) -> list[list[Instruction]]:
    """The bodies of the innermost loops, in order."""
    found = []
    for end, (text, *_) in enumerate(code):
        target = re.match(r"BRA.*?0x([0-9a-f]+)", text)
        if target and (begin := places.get(int(target[1], 16), end)) < end - 100:
            found.append((begin, end))
    return [code[begin:end + 1] for begin, end in found
            if not any(begin < b and e < end for b, e in found)]


def cycles(body: list[Instruction], programs: int, iterations: int = 4) -> float:
    """Cycles per iteration of a loop, with so many programs on one scheduler."""
    count = iterations * len(body)
    at, ready, free, now = [0] * programs, [0.0] * programs, {"exp": 0.0, "shared": 0.0}, 0.0
    barriers = [[0.0] * 8 for _ in range(programs)]
    while min(at) < count:
        choices = []
        for program in range(programs):
            if at[program] < count:
                text, _, _, _, waits = body[at[program] % len(body)]
                start = max([ready[program], *(barriers[program][b] for b in range(6)
                                               if waits >> b & 1)])
                unit, busy = _unit(text)
                if unit:
                    start = max(start, free[unit] - (8 if unit == "exp" else 64))
                choices.append((start, program, unit, busy))
        start, program, unit, busy = min(choices)
        text, gap, sets, frees, _ = body[at[program] % len(body)]
        now = begun = max(now, start)
        if unit:
            begun = max(free[unit], now)
            free[unit] = begun + busy
        extra = busy / 2 if unit == "shared" and busy > 4 else 0
        barriers[program][sets] = begun + extra + LATENCY.get(_name(text), OTHER)
        barriers[program][frees] = max(barriers[program][frees], now + 12)
        ready[program] = now + max(1, gap)
        now += 1
        at[program] += 1
    return now / iterations


def _name(text: str) -> str:
    return text.split()[0].split(".")[0]


def _unit(text: str) -> tuple[str | None, int]:
    if _name(text) in ("MUFU", "F2F"):
        return "exp", 8
    if _name(text) in SHARED:
        wide = ".128" in text or _name(text) == "LDSM"
        return "shared", 16 if wide else 8 if ".64" in text else 4
    return None, 0


def cycles_per_step(kernel, channels_per_lane: int, most: int) -> list[int]:
    """Cycles per step with 1, 2, … up to `most` programs on a scheduler."""
    cubin = compile_kernel(kernel, channels_per_lane, most).asm["cubin"]
    bodies = loops(*disassembled(cubin))
    times = [1] * len(bodies)
    if kernel is backward_parts.backward_in_parts:
        # To the states before sections but not through the last, through a section, back; and,
        # where the states are several bands, finish.
        bands = SHAPE.d_state // SHAPE.band
        times = [(1 - plan.CHUNK / SHAPE.chunk) * bands, bands, bands, 1][:len(bodies)]
    return [round(sum(often * cycles(body, programs)
                      for often, body in zip(times, bodies, strict=True)) / STEPS_PER_ITERATION)
            for programs in range(1, most + 1)]


def main(d_state: int = 16) -> None:
    """Print the cycles of each kernel beside those that `plan.py` has, and the predicted times."""
    global SHAPE
    SHAPE = SHAPE._replace(d_state=d_state)
    back = backward_parts.backward_in_parts if SHAPE.is_in_parts else backward.backward
    for kernel, carry, costs in (
            (forward.forward, forward.carry, plan.forward_costs(d_state)),
            (back, backward.carry_back, plan.backward_costs(d_state))):
        found = {}
        for each, channels, expected in (
                (carry, costs.carry_channels, costs.carry),
                *((kernel, *row) for row in costs.kernel)):
            found[each, channels] = cycles_per_step(each, channels, len(expected))
            print(f"{each.__name__}, {channels} channels per lane: {found[each, channels]} cycles "
                  f"per step, in plan.py {[*expected]}")
        chosen = plan.choose_plan(SHAPE, costs, SCHEDULERS)
        blocks, splits, batch = chosen.kernel.grid
        channels = chosen.kernel.channels_per_lane
        programs = blocks * splits * batch
        took = plan.predicted_cycles(programs, chosen.split_steps // plan.CHUNK,
                                     tuple(found[kernel, channels]), SCHEDULERS) / CLOCK
        print(f"{kernel.__name__}: {channels} channels per lane, {programs / SCHEDULERS:.1f} "
              f"programs per scheduler: {1e3 * took:.3f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
