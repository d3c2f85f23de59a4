"""The command that tunes the plans of the Triton scan, with a pretended GPU in its place."""

import re
import sys
from math import prod
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from systems import uniform

from minimamba.scan import why_not

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
if not why_not("triton"):
    sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
    import tune_plan

    from minimamba.scan.triton import operator, plan

NAMES = ("FORWARD", "BACKWARD", "FORWARD_FOR_MORE", "BACKWARD_FOR_MORE")
SCHEDULERS = 28 * 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def slower(costs):
    """Costs of a GPU that needs 1 to 4 cycles more, depending on how many programs there are."""
    def more(cycles):
        return tuple(c + i for i, c in enumerate(cycles, 1))

    return costs._replace(kernel=tuple((channels, more(c)) for channels, c in costs.kernel),
                          carry=more(costs.carry))


@pytest.mark.parametrize("d_state", [16, 32, 256])
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_costs_of_a_gpu_are_found_by_launching_so_many_programs(way, d_state):
    true = slower(tune_plan.TODAY[way](d_state))

    def pretend(given_way, kernel, shape, division):
        assert (given_way, shape.d_state) == (way, d_state)
        launch, steps = division.kernel, division.split_steps
        table = dict(true.kernel)[launch.channels_per_lane]
        if kernel.startswith("carry"):
            launch, steps, table = division.carry, division.piece_steps, true.carry
            assert launch.channels_per_lane == true.carry_channels
        assert launch.grid[0] * launch.channels_per_lane * 8 == shape.d_inner  # no lane is idle
        programs, rest = divmod(prod(launch.grid), SCHEDULERS)
        assert rest == 0
        return table[programs - 1] * steps

    assert tune_plan.measured(way, d_state, SCHEDULERS, pretend) == true


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_printed_as_the_plan_has_them(name):
    printed = tune_plan.as_source(name, getattr(plan, name))
    assert f"\n{printed}\n" in Path(plan.__file__).read_text()


def test_the_fastest_plan_is_the_one_that_took_the_least_time():
    shape = plan.ScanShape(1, 2**12, 1536, 16, 1)
    chosen = plan.choose_plan(shape, plan.FORWARD, SCHEDULERS)
    printed = tune_plan.compare(shape, "forward", plan.FORWARD, slower(plan.FORWARD), SCHEDULERS,
                                lambda division: abs(division.kernel.grid[1] - 3.8) / 1e3)
    (_, *today), _, (name, _, splits, _, time) = re.findall(
        r"(\S.*\S) +(\d+) × (\d+) × (\d+) +([\d.]+) ms", printed)
    assert chosen.kernel.grid[1] != 4
    assert today == [str(chosen.kernel.channels_per_lane), str(chosen.kernel.grid[1]),
                     str(chosen.pieces_per_split), f"{abs(chosen.kernel.grid[1] - 3.8):.3f}"]
    assert name.startswith("fastest of")
    assert (splits, time) == ("4", "0.200")


@pytest.mark.parametrize("d_state", [16, 32])
@pytest.mark.parametrize(("way", "kernel"), [
    ("forward", "forward"), ("forward", "carry"), ("backward", "backward"),
    ("backward", "carry_back")])
def test_each_measured_kernel_is_among_the_launches(way, kernel, d_state):
    length = 5 * d_state                       # more than one chunk
    x, delta, B, C = (uniform(0.5, 1, 1, length, n, seed=i).float().to(DEVICE)
                      for i, n in enumerate((1, 1, d_state, d_state)))
    A = -torch.ones(1, d_state, device=DEVICE, requires_grad=True)

    def scan():
        return operator.scan(x, delta, A, B, C, None, None, delta_bias=None, delta_softplus=False,
                             initial_state=None)[0]

    calls = {"forward": scan, "backward": lambda: torch.autograd.grad(scan().sum(), A)}
    costs = tune_plan.TODAY[way](d_state)
    shape = plan.ScanShape(1, length, 1, d_state, 1)
    division = plan.make_plan(shape, costs, costs.kernel[0][0], 1, 1)
    with (patch.object(tune_plan.Launcher, "__call__", lambda launcher, *tensors: None),
          patch.object(tune_plan, "milliseconds", lambda call: call() or 1e3),
          patch.object(tune_plan, "clock_during", lambda call: 5.0),
          patch.object(tune_plan, "calls_of", lambda shape: calls)):
        assert tune_plan.cycles_on_gpu(way, kernel, shape, division) == 5


def test_launches_of_a_forced_plan_are_recorded_and_run_again():
    x, delta, B, C = (uniform(0.5, 1, 1, 3, 1, seed=i).float().to(DEVICE) for i in range(4))
    A = -torch.ones(1, 1, device=DEVICE)
    with patch.object(plan, "CHUNK", 2), patch.object(operator, "CHUNK", 2):
        division = plan.make_plan(plan.ScanShape(1, 3, 1, 1, 1), plan.FORWARD, 2, 1, 1)
        found = []
        with tune_plan.with_plan(plan.FORWARD, division):
            launches = tune_plan.recorded(lambda: found.append(
                operator.scan(x, delta, A, B, C, None, None, delta_bias=None,
                              delta_softplus=False, initial_state=None)[0]))
    assert set(launches) == {"carry", "forward"}
    y = found[0].clone()
    found[0].zero_()
    launches["forward"]()
    assert torch.equal(found[0], y)
