"""The kernels compile for a GPU, on a machine without one: Triton's interpreter takes more."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from minimamba.scan.triton import kernels

fn = getattr(kernels, sys.argv[1])
SIZES = {"groups": 1, "d_inner": 96, "N": 16, "SOFTPLUS": True, "CHUNK": 64, "PARTS": 4,
         "P": 2}
LARGE = ("x", "delta", "z", "y", "dy", "dx", "d_delta", "dz")
for dtype, without in (("*bf16", []), ("*fp32", sys.argv[2].split(","))):
    constants = {a: SIZES[a] for a in fn.arg_names if a in SIZES} | {a: None for a in without}
    if "ATOMIC" in fn.arg_names:
        constants["ATOMIC"] = not without
    signature = {a: "constexpr" if a in constants else "i32" if a in kernels.KEPT_GENERAL
                 else dtype if a in LARGE else "*fp32" for a in fn.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(fn.arg_names)
               if signature[a].startswith("*")}
    made = triton.compile(ASTSource(fn, signature, constants, aligned),
                          options={"num_warps": 1, "maxnreg": 255},
                          target=GPUTarget("cuda", 90, 32))
    assert "cp.async" in made.asm["ptx"], "nothing is copied ahead"
"""


def compiling(folder):
    """The environment: without the interpreter, and nothing from an earlier time."""
    return {"PATH": "/usr/bin:/bin", "TRITON_CACHE_DIR": str(folder), "HOME": str(folder)}


@pytest.mark.parametrize(("name", "without"), [
    ("carry", "bias"), ("carry_back", "z,bias"),
    ("forward", "D,z,bias,initial,carries,sums,borders"),
    ("backward", "D,z,bias,dz,d_last,carries,sums")])
def test_it_compiles_for_hopper(name, without, tmp_path):
    """With all that there can be, in half precision; and with as little as possible."""
    subprocess.run([sys.executable, "-c", COMPILE, name, without], check=True, timeout=300,
                   env=compiling(tmp_path))


def test_the_machine_code_allows_what_was_predicted(tmp_path):
    """In cycles, followed through a scheduler. That the compiler deals out tiles and states as the
    kernels mean it to, every lane its own, shows here: else they meet by way of shared memory."""
    script = Path(__file__).parent.parent / "benchmarks/predict_kernels.py"
    said = subprocess.run([sys.executable, script], check=True, text=True, capture_output=True,
                          timeout=300, env=compiling(tmp_path)).stdout
    forward, backward = (float(took) for took in re.findall(r": ([\d.]+) ms", said))
    assert forward < 0.27, said
    assert backward < 0.72, said
    # What `fused.divide` weighs is what this finds.
    tables = re.findall(r": (\[.+\]) cycles a step, counted (\[.+\])", said)
    assert len(tables) == 6
    for found, counted in tables:
        assert json.loads(found) == pytest.approx(json.loads(counted), rel=0.1)
