"""Errors of Mamba-2's scan in bfloat16 beside those of the official kernels, against float64.

Usage: python benchmarks/ssd_errors.py
Needs an NVIDIA GPU with 100 GB of memory and `mamba_ssm`; takes some minutes.

Each error is the norm of the difference, relative to the norm of the exact result, for y, the final
state and every gradient; saved are the geometric mean and the largest of forty random draws (ten of
the longest inputs), and the geometric mean of our error over the official one by draw, with the
factor that is its standard error: a mean of 1.1 with a factor of 1.2 lies between 0.92 and 1.32.
Errors below 2⁻²⁴, half a unit in the last place of float32, count as 2⁻²⁴ in these ratios.

The decays have A from −1 to −16 or, if weak, A = −0.01; Δ is around 0.001 to 0.1, drawn as
Mamba-2's block draws its biases. All this is without and with a gate z, and without and with an
initial state and a gradient of the final one; other lengths, numbers of heads and groups and other
dimensions have the states and no gate. Exact is the chunked scan in float64, of the same inputs in
bfloat16. Each case runs in a process of its own, because an error of a kernel ends all work on the
GPU in the process where it occurs. Where the official kernels raise one, it is saved instead.

Results: results/ssd_errors_cuda.json.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from math import exp, log, sqrt
from multiprocessing import get_context
from statistics import geometric_mean, stdev

import torch
from machine import save
from torch import Tensor
from tqdm import tqdm

from minimamba import ssd

DRAWS = 40
DRAWS_OF_LONG = 10
LONG = 100_000
"""The length in steps from which there are fewer draws."""
PROCESSES = 14
OFFICIAL_CHUNK = 256
WEAK = -0.01
SMALLEST = 2.0 ** -24


@dataclass(frozen=True)
class Case:
    """A size, whether the decay is weak, and which arguments are given."""

    is_weak: bool
    has_gate: bool = False
    has_state: bool = True
    batch: int = 2
    length: int = 2048
    n_heads: int = 24
    head_dim: int = 64
    n_groups: int = 1
    d_state: int = 128

    @property
    def draws(self) -> int:
        """The number of random draws."""
        return DRAWS_OF_LONG if self.length >= LONG else DRAWS


SIZES = [{"length": length} for length in (1, 63, 64, 65, 1000, 4096)]
SIZES += [{"length": length, "batch": 1} for length in (100_003, 131_072)]
SIZES += [{"n_heads": n_heads} for n_heads in (1, 3, 80)]
SIZES += [{"head_dim": head_dim} for head_dim in (32, 128)]
SIZES += [{"d_state": d_state} for d_state in (16, 64, 100, 256)]
SIZES += [{"n_groups": n_groups} for n_groups in (2, 8)]
CASES = [Case(*options) for options in product((False, True), repeat=3)]
CASES += [Case(is_weak, **size) for size in SIZES for is_weak in (False, True)]


def draw(seed: int, case: Case) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
    """Draw the arguments, the gradient of y, and that of the final state or None."""
    torch.manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda")

    x_shape = case.batch, case.length, case.n_heads, case.head_dim
    B_shape = case.batch, case.length, case.n_groups, case.d_state
    state_shape = case.batch, case.n_heads, case.head_dim, case.d_state
    step = torch.empty(case.n_heads, device="cuda").uniform_(log(0.001), log(0.1)).exp()
    A = -torch.empty(case.n_heads, device="cuda").uniform_(1, 16)
    given = {"x": normal(*x_shape).bfloat16(), "dt": (normal(*x_shape[:3]) / 2).bfloat16(),
             "A": torch.full_like(A, WEAK) if case.is_weak else A,
             "B": normal(*B_shape).bfloat16(), "C": normal(*B_shape).bfloat16(),
             "D": torch.ones(case.n_heads, device="cuda"), "dt_bias": step.expm1().log()}
    if case.has_gate:
        given["z"] = normal(*x_shape).bfloat16()
    if case.has_state:
        given["initial_state"] = normal(*state_shape)
    return given, normal(*x_shape).bfloat16(), normal(*state_shape) if case.has_state else None


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


def official(initial_state: Tensor | None = None, **given: Tensor) -> tuple[Tensor, Tensor]:
    """The official kernels, with the arguments of ours."""
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    return mamba_chunk_scan_combined(
        **given, chunk_size=OFFICIAL_CHUNK, dt_softplus=True, initial_states=initial_state,
        return_final_states=True)


def row(case: Case) -> dict:
    """The errors of both in one case: a row of the results."""
    exact, ours = (partial(ssd, dt_softplus=True, return_final_state=True, method=method)
                   for method in ("chunked", "triton"))
    found: dict[str, dict[str, list[float]]] = {"ours": {}, "official": {}}
    failure = None
    for seed in range(case.draws):
        given, *gradients = draw(seed, case)
        wanted = run(exact, {name: t.double() for name, t in given.items()}, *gradients)
        add_errors(found["ours"], run(ours, given, *gradients), wanted)
        try:
            add_errors(found["official"], run(official, given, *gradients), wanted)
        except Exception as error:
            failure = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            break
    described = {**asdict(case), "draws": len(found["ours"]["y"]), "ours": summary(found["ours"])}
    if failure:
        return described | {"official": None, "failure": failure}
    return described | {"official": summary(found["official"]),
                        "ratio": {name: ratio(values, found["official"][name])
                                  for name, values in found["ours"].items()}}


def add_errors(found: dict[str, list[float]], results: dict[str, Tensor],
               wanted: dict[str, Tensor]) -> None:
    """Append the relative errors of one draw, by the name of the tensor."""
    of_draw = {name: ((t.double() - wanted[name]).norm() / wanted[name].norm()).item()
               for name, t in results.items()}
    for name, error in of_draw.items():
        found.setdefault(name, []).append(error)


def summary(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """The mean and the largest of the errors, by the name of the tensor."""
    return {name: {"mean": geometric_mean([max(value, SMALLEST) for value in values]),
                   "largest": max(values)} for name, values in found.items()}


def ratio(ours: list[float], official: list[float]) -> dict[str, float]:
    """The mean of our errors over the official ones, and its uncertainty as a factor."""
    logs = [log(max(a, SMALLEST) / max(b, SMALLEST)) for a, b in zip(ours, official, strict=True)]
    return {"mean": exp(sum(logs) / len(logs)), "factor": exp(stdev(logs) / sqrt(len(logs)))}


def groups() -> list[list[Case]]:
    """All cases, in three groups that run one after another.

    In the first, the official kernels tune themselves, once for each dimension. In the second they
    are compiled for other sizes. In the third, with weak decay, Triton's cache has all of them.
    """
    tuning = [Case(False)] + [Case(False, **size) for size in SIZES
                              if {"head_dim", "d_state"} & size.keys()]
    others = [case for case in CASES if case not in tuning]
    return [tuning, *([case for case in others if case.is_weak == is_weak]
                      for is_weak in (False, True))]


def main() -> None:
    """Measure all, and save results/ssd_errors_cuda.json."""
    os.environ["TRITON_CACHE_AUTOTUNING"] = "1"
    rows = {}
    with tqdm(total=len(CASES)) as progress:
        for cases in groups():
            with ProcessPoolExecutor(PROCESSES, get_context("spawn"),
                                     max_tasks_per_child=1) as pool:
                running = {pool.submit(row, case): case for case in cases}
                for done in as_completed(running):
                    rows[running[done]] = done.result()
                    progress.update()
    print(save("ssd_errors", "cuda", {"rows": [rows[case] for case in CASES]}))


if __name__ == "__main__":
    main()
