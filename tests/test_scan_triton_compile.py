"""The Triton kernels compile for a GPU, on a machine without one: the interpreter accepts more."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).parent.parent
COMPILE = """
import sys
sys.path.append("benchmarks")
from predict_kernels import compile_kernel, disassembled
from minimamba.scan.triton import backward, forward

OPTIONAL = ["D_ptr", "z_ptr", "bias_ptr", "piece_states", "piece_deltas"]
for kernel, run, without in (
        (forward.carry, 0, ["bias_ptr"]), (backward.carry_back, 8, ["z_ptr", "bias_ptr"]),
        (forward.forward, 0, [*OPTIONAL, "initial_state", "last_state", "chunk_states"]),
        (backward.backward, 0, [*OPTIONAL, "dz_ptr", "d_last_state", "y_again_ptr"]),
        (forward.forward, 0, []), (backward.backward, 2, [])):
    capability, shared_memory = (80, 164) if without else (90, 228)  # of an A100; of an H100
    compiled = compile_kernel(kernel, 2, 2, dtype="fp32" if without else "bf16", without=without,
                              atomic=not without, is_packed=bool(without), run=run,
                              capability=capability)
    assert "cp.async" in compiled.asm["ptx"], "inputs are not copied ahead of their use"
    instructions, _ = disassembled(compiled.asm["cubin"])
    assert not any(text.startswith(("LDL", "STL")) for text, *_ in instructions), "spills"
    assert 4 * 2 * (compiled.metadata.shared / 1024 + 1) <= shared_memory, "KB of eight programs"
"""

COMPILE_MANY_STATES = """
import sys
sys.path.append("benchmarks")
import predict_kernels
from minimamba.scan.triton import backward_parts, forward

predict_kernels.SHAPE = predict_kernels.SHAPE._replace(d_state=64)
for kernel in (forward.forward, backward_parts.backward_in_parts):
    compiled = predict_kernels.compile_kernel(kernel, 1, 3, without=[])
    for body in predict_kernels.loops(*predict_kernels.disassembled(compiled.asm["cubin"])):
        assert not any(at.text.startswith(("STL", "LDL")) for at in body), "registers are spilled"
"""

COMPILE_PACK = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from minimamba.scan.triton import pack

CONSTANTS = {"groups": 2, "B_groups": 1, "C_groups": 2, "d_inner": 6, "d_state": 5, "N": 8,
             "PART": 8, "TILE": 4, "ROWS": 256, "SUM_ROWS": 64, "COLUMNS": 32}
for kernel, official in ((pack.pack, False), (pack.pack, True), (pack.finish, False),
                         (pack.finish, True)):
    given = {**CONSTANTS, "APART": official, "TIME_LAST": official}
    constants = {name: given[name] for name in kernel.arg_names if name in given}
    signature = {name: "constexpr" if name in constants else "i32" if name in pack.RUNTIME_SIZES
                 else "*bf16" if name in ("B_ptr", "C_ptr", "dB_ptr", "dC_ptr") else "*fp32"
                 for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    triton.compile(source, target=GPUTarget("cuda", 90, 32))
"""

COMPILE_MINIMAL = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from minimamba.scan import triton_minimal

SIZES = {"length": "i32", "d_inner": "i32", "d_state": "i32"}
CONSTANTS = {"SOFTPLUS": True, "CHUNK": 32, "BLOCK": 32, "N": 16}
OPTIONAL = {"z", "dz"}
for kernel in (triton_minimal.forward_kernel, triton_minimal.backward_kernel):
    for absent in (set(), OPTIONAL & set(kernel.arg_names)):
        constants = CONSTANTS | dict.fromkeys(absent)
        signature = {name: "constexpr" if name in constants else SIZES.get(name, "*fp32")
                     for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        if kernel is triton_minimal.forward_kernel:  # as appendix A2 says
            assert compiled.asm["ptx"].count("shfl") == 16
"""

COMPILE_DECODING = """
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from minimamba.ops import decode, decode_kernels

STRIDES = {"x_channel", "dt_channel", "B_state", "C_state", "z_channel"}
OWN = {"add_rms_norm": {"BLOCK": 1024}, "ssd_step": {"d_state": 128, "N": 128, "BLOCK": 8}}
SIZES = {"features": 80, "FEATURES": 128, "WIDTH": 4, "BLOCK": 64, "d_state": 16, "N": 16,
         "dt_rank": 48, "RANKS": 64, "PARTS": 16, "d_model": 768, "inputs": 768, "ROWS": 4,
         "COLUMNS": 256, "PRELOAD": True, "OVERLAP": True, "n_heads": 24, "n_groups": 1,
         "head_dim": 64, "D_PER_HEAD": True} | dict.fromkeys(STRIDES, 1)
HALF = {"x", "weight", "bias", "conv_state", "y", "x_proj", "z", "dt_bias", "dt_weight",
        "hidden_states", "normed"}
SINGLE = {"projected", "dt", "A_log", "B", "C", "D", "ssm_state", "residual", "total"}
OPTIONAL = {"bias", "x_proj", "projected", "z", "dt_weight"}
BY_TENSOR_CORES = {"conv_step": "wgmma", "scan_step": "mma.sync"}

def compile(kernel, constants, state="bf16", half="bf16", capability=90, warps=4):
    types = dict.fromkeys(HALF, f"*{half}") | dict.fromkeys(SINGLE, "*fp32") | {
        "new_state": f"*{state}", "epsilon": "fp32", "dt_min": "fp32", "dt_max": "fp32"}
    if kernel.__name__ == "ssd_step":
        types |= dict.fromkeys(("dt", "B", "C"), "*bf16")
    signature = {name: "constexpr" if name in constants else types.get(name, "i32")
                 for name in kernel.arg_names}
    constants = {name: constants[name] for name in kernel.arg_names if name in constants}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names)
               if signature[name] not in ("constexpr", "fp32") and name != "batch"}
    return triton.compile(ASTSource(kernel, signature, constants, aligned),
                          target=GPUTarget("cuda", capability, 32),
                          options={"num_warps": warps, "launch_pdl": capability >= 90})

for kernel, state, sequences in (("conv_step", "bf16", 1), ("conv_step", "bf16", 16),
                                 ("scan_step", "fp32", 1), ("scan_step", "fp32", 4),
                                 ("ssd_step", "fp32", 1), ("add_rms_norm", "", 1),
                                 ("matvec", "", 1)):
    kernel = getattr(decode_kernels, kernel)
    for absent in (set(), OPTIONAL & set(kernel.arg_names)):
        constants = SIZES | {"SEQUENCES": sequences} | dict.fromkeys(absent)
        constants |= {"features": 0, "dt_rank": 0} if absent else {}
        constants |= OWN.get(kernel.__name__, {})
        compiled = compile(kernel, constants, state)
        ptx = compiled.asm["ptx"]
        assert ptx.index("griddepcontrol.wait") < ptx.index("griddepcontrol.launch_dependents")
        if sequences > 1 and not absent:
            assert BY_TENSOR_CORES[kernel.__name__] in ptx, "not computed by tensor cores"
        if kernel.__name__ == "ssd_step":
            assert "ld.global.v4" in ptx, "the state is not loaded 16 bytes at a time"
            assert compiled.metadata.shared < 1024, "threads exchange the state"
for half, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
    for features, dt_rank in ((80, 48), (192, 160)):  # of the smallest and the largest model
        tile = decode._conv_tile(128, features, dtype)
        tiles = {"SEQUENCES": tile.sequences, "BLOCK": tile.channels, "OVERLAP": False,
                 "features": features, "dt_rank": dt_rank}
        compiled = compile(decode_kernels.conv_step, SIZES | tiles, half, half, 120, tile.warps)
        assert compiled.metadata.shared <= 99 * 1024, "bytes of a program on an RTX 50"
tile = decode.SCAN_TILES[64]
tiles = {"SEQUENCES": tile.sequences, "BLOCK": tile.channels, "PARTS": 8, "OVERLAP": False}
compiled = compile(decode_kernels.scan_step, SIZES | tiles, "fp32", "bf16", 120, tile.warps)
assert compiled.metadata.shared <= 99 * 1024
"""

COMPILE_SSD = """
import sys
sys.path.append("benchmarks")
import triton
from predict_kernels import disassembled
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from minimamba.ssd.triton import backward, forward
from minimamba.ssd.triton.operator import SUMS
from minimamba.ssd.triton.plan import (SSDShape, choose_backward_tiles, choose_tiles, make_plan,
                                       plan_of_gate, save_stages)

HALF = {f"{name}_ptr" for name in ("x", "B", "C", "z", "y", "dt", "d_out", "dy", "dx", "dB", "dC",
                                   "states", "others", "dCB", "d_dt")}
OPTIONAL = {"bias_ptr", "seq_idx_ptr", "D_ptr", "z_ptr", "entering_ptr", "final_state_ptr",
            "initial_ptr", "d_out_ptr", "dy_ptr", "dD_ptr"}
OVER_HEADS = backward.read_gradients, backward.write_gradients
STAGES = {forward.add_up: "pass_stages", forward.walk: "stages",
          backward.walk_states: "walk_stages", backward.read_gradients: "read_stages",
          backward.write_gradients: "write_stages"}
WALK_OPTIONAL = {"entering_ptr", "initial_ptr", "last_ptr"}

def compile(kernel, d_state, *, without=OPTIONAL, dtype="bf16", capability=90, back=True,
            across=1, is_backward=None, stages=None):
    if is_backward is None:
        is_backward = kernel.fn.__module__ == backward.__name__
    is_walk = kernel is backward.walk_states or kernel is forward.add_up and is_backward
    tiles = (choose_backward_tiles if is_backward else choose_tiles)(
        64, d_state, 4 if dtype == "fp32" else 2)
    if kernel is forward.walk and "d_out_ptr" not in without:
        shape = SSDShape(1, 2048, 24, 64, 1, d_state)
        tiles = plan_of_gate(shape, make_plan(shape, tiles, 64), 4 if dtype == "fp32" else 2).tiles
    constants = {"head_dim": 64, "d_state": d_state, "D_PER_HEAD": True, "CHUNK": tiles.chunk,
                 "N": tiles.states, "SLICE": tiles.slice, "BLOCK": tiles.block,
                 "COLUMNS": tiles.columns if is_backward else tiles.states,
                 "ACROSS": across, "APART": is_backward and tiles.is_apart, "SOFTPLUS": True,
                 "HEADS": 8, "SIZE": 64 * d_state, "WIDTH": 1024, "BACK": back, "BLOCKS": 1,
                 "TILES": 2, "KINDS": 3, "ALONGS": True, "OVERLAP": capability >= 90,
                 "EARLY": not is_backward and tiles.is_early,
                 **dict.fromkeys(without)}
    if kernel is backward.add_up_chunks:
        constants |= SUMS
    names = kernel.arg_names
    if "STAGES" in names:
        constants["STAGES"] = stages or getattr(tiles, STAGES[kernel])
    constants = {name: constants[name] for name in names if name in constants}
    types = dict.fromkeys(HALF, f"*{dtype}") | {"seq_idx_ptr": "*i64"}
    signature = {name: "constexpr" if name in constants else types.get(
                     name, "*fp32" if name.endswith("_ptr") else "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names)
               if signature[name] != "constexpr" and name not in backward.RUNTIME_SIZES}
    return triton.compile(ASTSource(kernel, signature, constants, aligned),
                          target=GPUTarget("cuda", capability, 32),
                          options={"num_warps": tiles.walk_warps if is_walk else tiles.warps,
                                   "launch_pdl": capability >= 90})

for kernel, d_state, options in (
        (forward.sum_decays, 128, {"without": ()}),
        (forward.add_up, 128, {"without": (), "back": False}),
        (forward.add_up, 256, {"without": (), "back": False}),
        (forward.add_up, 128, {"without": (), "is_backward": True}),
        (forward.add_up, 256, {"without": (), "is_backward": True}),
        (forward.carry, 128, {"without": ["initial_ptr"]}),
        (forward.walk, 64, {}), (forward.walk, 64, {"without": ()}), (forward.walk, 128, {}),
        (forward.walk, 128, {"without": {"d_out_ptr", "dy_ptr", "dD_ptr"}}),
        (forward.walk, 256, {}), (forward.walk, 256, {"without": ()}),
        (forward.walk, 128, {"dtype": "fp32"}), (forward.walk, 256, {"dtype": "fp32"}),
        (backward.walk_states, 128, {"without": WALK_OPTIONAL}),
        (backward.walk_states, 128, {"without": ()}),
        (backward.walk_states, 256, {"without": ()}),
        (backward.read_gradients, 128, {"without": ()}),
        (backward.write_gradients, 64, {"without": ()}),
        (backward.write_gradients, 128, {"without": (), "across": 2}),
        (backward.read_gradients, 256, {"without": (), "across": 4}),
        (backward.write_gradients, 256, {"without": (), "across": 4}),
        (backward.read_gradients, 256, {"without": (), "dtype": "fp32"}),
        (backward.write_gradients, 256, {"without": (), "dtype": "fp32"}),
        (backward.step_gradients, 128, {"without": ()}),
        (backward.add_up_chunks, 128, {"without": ()})):
    compiled = compile(kernel, d_state, **options)
    instructions, _ = disassembled(compiled.asm["cubin"])
    spills = sum(at.text.startswith(("LDL", "STL")) for at in instructions)
    allowed = 100 if kernel in OVER_HEADS else 0
    if kernel is forward.walk and options.get("dtype") == "fp32":
        allowed = {128: 50, 256: 600}[d_state]  # 3,900 would take longer than all that is computed
    assert spills <= allowed, (kernel, options, spills)
    if kernel not in (forward.sum_decays, forward.carry, backward.step_gradients,
                      backward.add_up_chunks):
        at_once = 8 // compiled.metadata.num_warps
        assert at_once * (compiled.metadata.shared / 1024 + 1) <= 228, "KB of an H100"
        texts = " ".join(at.text for at in instructions)
        assert "UTMALDG" in texts, "no tile is copied by a descriptor"
        assert "HGMMA" in texts, "no tensor core multiplies"
        is_precise = kernel in (forward.add_up, backward.walk_states)
        assert not is_precise or "F2F." not in texts, "a slow conversion"
for kernel, without in ((forward.add_up, ()), (forward.walk, OPTIONAL),
                        (backward.walk_states, WALK_OPTIONAL), (backward.read_gradients, ()),
                        (backward.write_gradients, ())):
    compile(kernel, 128, without=without, capability=80)  # of an A100, which has no descriptors
    compile(kernel, 128, without=without, capability=100)  # of a B200
compile(forward.add_up, 128, without=(), capability=100, back=False)
compile(backward.walk_states, 128, without=WALK_OPTIONAL, capability=100, back=False,
        stages=save_stages(choose_backward_tiles(64, 128, 2), (10, 0)))
for kernel, d_state, without in (
        (forward.add_up, 128, ()), (forward.add_up, 256, ()), (forward.walk, 128, ()),
        (forward.walk, 256, ()),
        (backward.walk_states, 128, WALK_OPTIONAL),
        (backward.read_gradients, 128, ()), (backward.read_gradients, 256, ()),
        (backward.write_gradients, 256, ())):
    compiled = compile(kernel, d_state, without=without, capability=120)
    assert compiled.metadata.shared <= 99 * 1024, "bytes of a program on an RTX 50"
"""

COMPILE_ROWS = """
import sys
sys.path.append("benchmarks")
import triton
from predict_kernels import disassembled
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from minimamba.ops import causal_conv1d_kernels, gated_norm_kernels, pre_norm_kernels

# Of a block with d_model 768: z and the convolution's input are slices of in_proj's output.
CONSTANTS = {"x_row": 1536, "z_row": 3352, "dy_row": 1536, "dz_row": 3352, "groups": 1,
             "SIZE": 1536, "BLOCK": 2048, "ROWS": 16, "EPSILON": 1e-5, "NORM_FIRST": False}
CONVOLUTION = {"x_row": 3352, "dy_row": 1792, "dx_row": 3352, "WIDTH": 4, "STEPS": 64,
               "CHANNELS": 64, "conv_state": None}
PRE_NORM = {"SIZE": 768, "BLOCK": 1024, "ROWS": 16, "EPSILON": 1e-5}
for module, given, warps, load, loads in (
        (gated_norm_kernels, CONSTANTS, 4, "LDG.E.128", 6),
        (pre_norm_kernels, PRE_NORM, 2, "LDG.E.128", 4),
        (causal_conv1d_kernels, CONVOLUTION, 1, "LDG.E ", 6)):
    for kernel in (module.forward, module.backward):
        names = kernel.arg_names
        constants = {name: given[name] for name in names if name in given}
        sizes = {"rows", "length", "d_inner", "channel_blocks", "step_blocks"}
        signature = {name: "constexpr" if name in constants else "i32" if name in sizes else
                     "*fp32" if name == "sums" else "*bf16" for name in names}
        aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names)
                   if signature[name].startswith("*") or name == "d_inner"}
        compiled = triton.compile(ASTSource(kernel, signature, constants, aligned),
                                  target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
        texts = [at.text for at in disassembled(compiled.asm["cubin"])[0]]
        assert not any(text.startswith(("LDL", "STL")) for text in texts), "spills"
        assert sum(text.startswith(load) for text in texts) >= loads, "loads are too narrow"
"""


def run(folder, *arguments):
    """Run Python without the interpreter of Triton, and with an empty cache of kernels."""
    env = {"PATH": "/usr/bin:/bin", "TRITON_CACHE_DIR": str(folder), "HOME": str(folder),
           "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], check=True, text=True, timeout=300,
                          capture_output=True, cwd=ROOT, env=env).stdout


def test_kernels_compile_with_all_arguments_and_with_as_few_as_possible(tmp_path):
    """The ones for an H100, the others for an A100."""
    run(tmp_path, "-c", COMPILE)


def test_states_of_sixty_four_components_stay_in_registers(tmp_path):
    run(tmp_path, "-c", COMPILE_MANY_STATES)


def test_small_kernels_compile(tmp_path):
    """Before and after the scan; the minimal ones, with and without optional inputs; those of a
    decoding step, which wait for the kernel before; and by rows, which load slices in wide pieces.
    """
    run(tmp_path, "-c", COMPILE_PACK + COMPILE_MINIMAL + COMPILE_DECODING + COMPILE_ROWS)


def test_kernels_of_mamba_2_compile_without_spills_for_tensor_cores_and_descriptors(tmp_path):
    run(tmp_path, "-c", COMPILE_SSD)


def test_machine_code_needs_the_cycles_that_the_plan_is_based_on(tmp_path):
    """If the compiler gave lanes and states another layout than the kernels are written for, they
    would be exchanged through shared memory, and the cycles would show it."""
    printed = run(tmp_path, "benchmarks/predict_kernels.py")
    forward, backward = (float(time) for time in re.findall(r": ([\d.]+) ms", printed))
    assert forward < 0.27, printed
    assert backward < 0.72, printed
    tables = re.findall(r": (\[.+\]) cycles per step, in plan.py (\[.+\])", printed)
    assert len(tables) == 6
    for found, in_plan in tables:
        assert json.loads(found) == pytest.approx(json.loads(in_plan), rel=0.1)
