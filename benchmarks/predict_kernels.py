"""What the fused kernels should take on a GPU, from their machine code; no GPU is needed.

Usage: python benchmarks/predict_kernels.py
Compiles the kernels for an H100 and follows the instructions of their loops through one scheduler
and its programs, in order: each instruction says how many cycles the next one waits, and which of
six barriers it sets or waits for (the fields are those that Jia et al. 2018, arXiv:1804.06826,
found in Volta's code; Hopper's has the same). What stands behind a barrier takes LATENCY cycles,
and the units that several instructions share are busy for a while. Loads are assumed to be copied
ahead in time, and all instructions to be at hand: so this is what the code allows, not a time.
"""

import re
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from minimamba.scan.triton import kernels, operator

BATCH, LENGTH, D_INNER, TURN = 8, 2048, 1536, 2 * operator.PARTS
SCHEDULERS, CLOCK = 132 * operator.SCHEDULERS, 1.755e9
LATENCY = {"SHFL": 24, "MUFU": 22, "LDS": 30, "LDSM": 33, "F2F": 22, "STS": 20, "LDG": 300,
           "LDGSTS": 60, "S2R": 30, "BAR": 25, "LDGDEPBAR": 20, "LDC": 40, "STG": 20, "REDG": 20}
OTHER = 15
SHARED = ("SHFL", "LDS", "LDSM", "STS", "LDG", "LDGSTS", "STG", "REDG")
"""These go through one unit of the multiprocessor, four cycles of each scheduler's time for every
128 bytes."""
Instruction = tuple[str, int, int, int, int]  # text, cycles to the next, sets, frees, waits for


def compiled(name: str, channels: int, programs: int) -> bytes:
    fn = getattr(kernels, name)
    sizes = {"groups": 1, "d_inner": D_INNER, "N": 16, "SOFTPLUS": True, "CHUNK": operator.CHUNK,
             "PARTS": operator.PARTS, "P": channels, "ATOMIC": True}
    constants = {a: sizes[a] for a in fn.arg_names if a in sizes}
    if not name.startswith("carry"):
        constants |= {a: None for a in ("initial", "carries", "sums", "d_last")
                      if a in fn.arg_names}
    halves = ("x", "delta", "z", "y", "dy", "dx", "d_delta", "dz")
    signature = {a: "constexpr" if a in constants else "i32" if a in kernels.KEPT_GENERAL
                 else "*bf16" if a in halves else "*fp32" for a in fn.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(fn.arg_names)
               if signature[a].startswith("*")}
    registers = min(255, operator.REGISTERS // programs // 8 * 8)
    return triton.compile(ASTSource(fn, signature, constants, aligned),
                          target=GPUTarget("cuda", 90, 32),
                          options={"num_warps": 1, "maxnreg": registers}).asm["cubin"]


def disassembled(cubin: bytes) -> tuple[list[Instruction], dict[int, int]]:
    """The instructions, and from an address to its place among them."""
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
            code.append((re.sub(r"^@!?U?P\w+ ", "", first[2]), control & 15, control >> 5 & 7,
                         control >> 8 & 7, control >> 11 & 63))
    return code, places


def loops(code: list[Instruction], places: dict[int, int]) -> list[list[Instruction]]:
    """The bodies of the innermost loops, in their order."""
    found = []
    for end, (text, *_) in enumerate(code):
        target = re.match(r"BRA.*?0x([0-9a-f]+)", text)
        if target and (begin := places.get(int(target[1], 16), end)) < end - 100:
            found.append((begin, end))
    return [code[begin:end + 1] for begin, end in found
            if not any(begin < b and e < end for b, e in found)]


def cycles(body: list[Instruction], programs: int, turns: int = 4) -> float:
    """Cycles a turn, with so many programs at once on a scheduler."""
    count = turns * len(body)
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
    return now / turns


def _name(text: str) -> str:
    return text.split()[0].split(".")[0]


def _unit(text: str) -> tuple[str | None, int]:
    if _name(text) in ("MUFU", "F2F"):
        return "exp", 8
    if _name(text) in SHARED:
        wide = ".128" in text or _name(text) == "LDSM"
        return "shared", 16 if wide else 8 if ".64" in text else 4
    return None, 0


def main() -> None:
    chunks, lanes = LENGTH // operator.CHUNK, operator.WARP // operator.PARTS
    for name, before, costs in (("forward", "carry", operator.FORWARD),
                                ("backward", "carry_back", operator.BACKWARD)):
        found = {}
        for kernel, channels, counted in ((before, operator.BEFORE, costs.before),
                                          *((name, *row) for row in costs.by_channels)):
            most = len(counted)
            bodies = loops(*disassembled(compiled(kernel, channels, most)))
            found[kernel, channels] = [round(sum(cycles(body, programs) for body in bodies) / TURN)
                                       for programs in range(1, most + 1)]
            print(f"{kernel}, {channels} channels to a lane: {found[kernel, channels]} cycles a "
                  f"step, counted {[*counted]}")
        channels, each, _ = operator.divide(BATCH, D_INNER, chunks, lanes, SCHEDULERS, costs)
        programs = -(-BATCH * -(-D_INNER // (channels * lanes)) * -(-chunks // each) // SCHEDULERS)
        took = found[name, channels][programs - 1] * each * operator.CHUNK / CLOCK
        print(f"{name}: {channels} channels to a lane, {programs} programs to a scheduler: "
              f"{1e3 * took:.3f} ms")


if __name__ == "__main__":
    main()
