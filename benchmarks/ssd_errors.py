"""Errors of Mamba-2's scan in bfloat16 beside those of the official kernels, against float64.

Usage: python benchmarks/ssd_errors.py
Needs an NVIDIA GPU and `mamba_ssm`; takes some minutes, most of them for the official kernels to
tune themselves.

Each error is the norm of the difference, relative to the norm of the exact result, for y, the final
state and every gradient; saved are the geometric mean and the largest of forty random draws, and
the geometric mean of our error over the official one by draw, with the factor that is its standard
error: a mean of 1.1 with a factor of 1.2 lies between 0.92 and 1.32. The decays have A from −1 to
−16 ("usual") or A = −0.01 ("weak"); Δ is around 0.001 to 0.1, drawn as Mamba-2's block draws its
biases. All this is without and with a gate z, and without and with an initial state and a gradient
of the final one. Exact is the chunked scan in float64, of the same inputs in bfloat16.

Results: results/ssd_errors_cuda.json.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from math import exp, log, sqrt
from statistics import geometric_mean, stdev

import torch
from machine import save
from torch import Tensor
from tqdm import tqdm

from minimamba import ssd

BATCH, LENGTH, N_HEADS, HEAD_DIM, D_STATE = 2, 2048, 24, 64, 128
SEEDS = 40
OFFICIAL_CHUNK = 256
WEAK = -0.01


def draw(seed: int, is_weak: bool, has_gate: bool,
         has_state: bool) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """Draw the arguments, the gradient of y, and that of the final state or None."""
    torch.manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda")

    x_shape = BATCH, LENGTH, N_HEADS, HEAD_DIM
    state_shape = BATCH, N_HEADS, HEAD_DIM, D_STATE
    step = torch.empty(N_HEADS, device="cuda").uniform_(log(0.001), log(0.1)).exp()
    A = -torch.empty(N_HEADS, device="cuda").uniform_(1, 16)
    given = {"x": normal(*x_shape).bfloat16(), "dt": (normal(*x_shape[:3]) / 2).bfloat16(),
             "A": torch.full_like(A, WEAK) if is_weak else A,
             "B": normal(BATCH, LENGTH, 1, D_STATE).bfloat16(),
             "C": normal(BATCH, LENGTH, 1, D_STATE).bfloat16(),
             "D": torch.ones(N_HEADS, device="cuda"), "dt_bias": step.expm1().log()}
    if has_gate:
        given["z"] = normal(*x_shape).bfloat16()
    if has_state:
        given["initial_state"] = normal(*state_shape)
    return given, normal(*x_shape).bfloat16(), normal(*state_shape) if has_state else None


def run(scan: Callable[..., tuple[Tensor, Tensor]], given: dict[str, Tensor], dy: Tensor,
        d_final_state: Tensor | None) -> dict[str, Tensor]:
    """The outputs, and the gradients of all arguments, by name."""
    leaves = {name: t.detach().requires_grad_() for name, t in given.items()}
    y, final_state = scan(**leaves)
    outputs, gradients = [y], [dy.to(y.dtype)]
    if d_final_state is not None:
        outputs.append(final_state)
        gradients.append(d_final_state.to(final_state.dtype))
    found = torch.autograd.grad(outputs, list(leaves.values()), gradients)
    return {"y": y.detach(), "final_state": final_state.detach(),
            **{f"d_{name}": gradient for name, gradient in zip(leaves, found, strict=True)}}


def ratio(ours: list[float], official: list[float]) -> dict[str, float]:
    """The mean of our errors over the official ones, and its uncertainty as a factor."""
    logs = [log(a / b) for a, b in zip(ours, official, strict=True)]
    return {"mean": exp(sum(logs) / len(logs)), "factor": exp(stdev(logs) / sqrt(len(logs)))}


def main() -> None:
    """Measure all, and save results/ssd_errors_cuda.json."""
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    def official(initial_state: Tensor | None = None,
                 **given: Tensor) -> tuple[Tensor, Tensor]:
        return mamba_chunk_scan_combined(
            **given, chunk_size=OFFICIAL_CHUNK, dt_softplus=True, initial_states=initial_state,
            return_final_states=True)

    exact, ours = (partial(ssd, dt_softplus=True, return_final_state=True, method=method)
                   for method in ("chunked", "triton"))
    rows = []
    for case in tqdm(list(product((False, True), repeat=3))):
        errors: dict[str, dict[str, list[float]]] = {"ours": {}, "official": {}}
        for seed in range(SEEDS):
            given, dy, d_final_state = draw(seed, *case)
            wanted = run(exact, {name: t.double() for name, t in given.items()}, dy, d_final_state)
            for who, scan in (("ours", ours), ("official", official)):
                for name, t in run(scan, given, dy, d_final_state).items():
                    error = (t.double() - wanted[name]).norm() / wanted[name].norm()
                    errors[who].setdefault(name, []).append(error.item())
        is_weak, has_gate, has_state = case
        rows.append({"decay": "weak" if is_weak else "usual", "gate": has_gate, "state": has_state,
                     **{who: {name: {"mean": geometric_mean(found), "largest": max(found)}
                              for name, found in by_name.items()}
                        for who, by_name in errors.items()},
                     "ratio": {name: ratio(found, errors["official"][name])
                               for name, found in errors["ours"].items()}})
    print(save("ssd_errors", "cuda", {"seeds": SEEDS, "rows": rows}))


if __name__ == "__main__":
    main()
