"""The Triton kernels at full size, on a GPU, with other random inputs in each run."""

import pytest
import torch

from minimamba import selective_scan

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SIZES = [(1, 1536), (63, 24), (64, 1), (65, 1536), (1000, 1536), (4096, 24), (4096, 1536),
         (100_003, 1), (100_003, 24), (100_003, 1536)]
D_STATE = 16


@pytest.fixture(autouse=True)
def new_seed_and_memory_full_of_nan():
    torch.cuda.empty_cache()
    print("seed", torch.seed())                              # shown if a test fails
    # What is allocated next is NaN until it is written.
    torch.full((2**30,), torch.nan, device="cuda")


def inputs(length, d_inner, batch=1, groups=1, d_state=D_STATE, dtype=torch.float32):
    def draw(*shape):
        return torch.randn(shape, device="cuda").to(dtype)

    return {"x": draw(batch, length, d_inner), "delta": draw(batch, length, d_inner) - 3,
            "A": -torch.rand(d_inner, d_state, device="cuda") * 8 - 0.5,
            "B": draw(batch, length, groups, d_state), "C": draw(batch, length, groups, d_state),
            "D": draw(d_inner).float(), "z": draw(batch, length, d_inner),
            "delta_bias": draw(d_inner).float(),
            "initial_state": draw(batch, d_inner, d_state).float()}


def run(method, tensors, dy, dh):
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in tensors.items()}
    y, h = selective_scan(**leaves, delta_softplus=True, return_last_state=True, method=method)
    gradients = torch.autograd.grad((y, h), list(leaves.values()), (dy.to(y.dtype), dh.to(h.dtype)))
    return {"y": y.detach(), "last_state": h.detach(),
            **{f"gradient of {name}": gradient
               for name, gradient in zip(leaves, gradients, strict=True)}}


def output_gradients(tensors):
    return torch.randn_like(tensors["x"]), torch.randn_like(tensors["initial_state"])


def exact(given, dy, dh):
    """In float64; the gradients by the chunked scan, which is tested against the reference."""
    given = {name: part.double() for name, part in given.items()}
    results = run("chunked", given, dy, dh)
    if given["x"].shape[1] <= 4096:
        with torch.no_grad():
            results["y"], results["last_state"] = selective_scan(
                **given, delta_softplus=True, return_last_state=True, method="reference")
    return results


def errors(results, wanted):
    return {name: ((results[name].double() - part).norm() / part.norm()).item()
            for name, part in wanted.items()}


def all_below(found, tolerance=1e-6):
    __tracebackhide__ = True
    too_large = {name: f"{error:.1e}" for name, error in found.items() if not error < tolerance}
    assert not too_large


@pytest.mark.parametrize(("length", "d_inner"), SIZES)
def test_results_are_within_a_millionth_of_the_reference(length, d_inner):
    # The gradients of D and delta_bias are one number per channel, a sum over all steps. With one
    # channel the sum may nearly cancel, so errors are relative to the norm over several draws.
    off, size = {}, {}
    for _ in range(8 if d_inner == 1 else 1):
        given = inputs(length, d_inner)
        back = output_gradients(given)
        found, wanted = run("triton", given, *back), exact(given, *back)
        for name, part in wanted.items():
            off[name] = off.get(name, 0.0) + ((found[name].double() - part) ** 2).sum().item()
            size[name] = size.get(name, 0.0) + (part**2).sum().item()
    all_below({name: (off[name] / size[name]) ** 0.5 for name in size})


def test_slowly_decaying_states_are_accurate():
    # Products of a thousand decays near 1 add up errors that have the same sign.
    given = inputs(4096, 24)
    given |= {"A": torch.full_like(given["A"], -1.0), "delta": given["delta"] / 10 - 6,
              "delta_bias": torch.zeros_like(given["delta_bias"])}
    back = output_gradients(given)
    found, wanted = run("triton", given, *back), exact(given, *back)
    all_below({name: error for name, error in errors(found, wanted).items()
              if name == "gradient of initial_state"}, 3e-6)


@pytest.mark.parametrize("groups", [2, 8])
def test_groups_and_batches_match_reference(groups):
    given = inputs(1000, 48, batch=3, groups=groups)
    back = output_gradients(given)
    all_below(errors(run("triton", given, *back), exact(given, *back)))


@pytest.mark.parametrize("d_state", [1, 4, 24, 33, 64, 100, 128, 256])
def test_other_state_dimensions_match_reference(d_state):
    given = inputs(600, 72, d_state=d_state)                 # three chunks of the longest
    back = output_gradients(given)
    all_below(errors(run("triton", given, *back), exact(given, *back)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("length", "d_inner", "draws"), [(65, 24, 32), (1000, 1536, 1),
                                                          (4096, 1536, 1)])
def test_half_precision_is_at_least_as_accurate_as_the_official_kernel(
        dtype, length, d_inner, draws):
    official = pytest.importorskip("selective_scan_cuda")
    ours, other = {}, {}
    for _ in range(draws):                                   # few numbers vary by chance
        given = inputs(length, d_inner, dtype=dtype)
        del given["initial_state"]                           # the official kernel has none
        dy = torch.randn_like(given["x"])
        dh = torch.zeros(1, d_inner, D_STATE, device="cuda")
        wanted, found = exact(given, dy, dh), run("triton", given, dy, dh)
        wanted.pop("last_state")
        for errors_of, results in ((ours, found), (other, official_results(official, given, dy))):
            for name, error in errors(results, wanted).items():
                errors_of[name] = errors_of.get(name, 0.0) + error / draws
    # Most of both errors is the rounding of the result, so they are nearly equal.
    worse = {name: f"{ours[name]:.4e}, theirs {other[name]:.4e}" for name in ours
              if not ours[name] <= 1.0001 * other[name]}
    assert not worse


def official_results(official, given, dy):
    u, delta, z, dy = (part.mT.contiguous()
                       for part in (given["x"], given["delta"], given["z"], dy))
    B, C = (given[name].permute(0, 2, 3, 1).contiguous() for name in "BC")
    parts = u, delta, given["A"], B, C, given["D"], z, given["delta_bias"]
    out, kept, y = official.fwd(*parts, True)
    du, d_delta, dA, dB, dC, dD, d_bias, dz = official.bwd(*parts, dy, kept, out, None, True, False)
    return {"y": y.mT, "gradient of x": du.mT, "gradient of delta": d_delta.mT,
            "gradient of A": dA, "gradient of B": dB.permute(0, 3, 1, 2),
            "gradient of C": dC.permute(0, 3, 1, 2), "gradient of D": dD,
            "gradient of z": dz.mT, "gradient of delta_bias": d_bias}


def test_cuda_graph_replays_forward_and_backward():
    given = inputs(1000, 96)
    leaves = {name: part.requires_grad_() for name, part in given.items()}

    def step():
        y = selective_scan(**leaves, delta_softplus=True, method="triton")
        return y, torch.autograd.grad(y.sum(), list(leaves.values()))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()                                               # compile before recording
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, gradients = step()
    with torch.no_grad():
        for part in leaves.values():
            part.mul_(0.9)
    graph.replay()
    y_, gradients_ = step()
    torch.testing.assert_close(y, y_)
    for one, other in zip(gradients, gradients_, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_autocast_does_not_change_the_scan():
    given = inputs(200, 96)
    plain = selective_scan(**given, delta_softplus=True, method="triton")
    with torch.autocast("cuda", torch.bfloat16):
        assert torch.equal(selective_scan(**given, delta_softplus=True, method="triton"), plain)
        mixed = given | {name: given[name].bfloat16() for name in ("x", "delta", "B", "C", "z")}
        y = selective_scan(**mixed, delta_softplus=True, method="triton")
    assert y.dtype == torch.bfloat16
    assert (y.float() - plain).norm() < 2e-2 * plain.norm()


def test_torch_compile_with_inductor_matches_eager():
    given = inputs(300, 64)
    x = given["x"].requires_grad_()

    def gated(x):
        return selective_scan(**given | {"x": x * 2}, delta_softplus=True, method="triton").sin()

    compiled = torch.compile(gated, fullgraph=True)
    torch.testing.assert_close(compiled(x), gated(x))
    torch.testing.assert_close(torch.autograd.grad(compiled(x).sum(), x),
                               torch.autograd.grad(gated(x).sum(), x))


def test_deterministic_sums_are_the_same_twice():
    given = inputs(2000, 512)
    back = output_gradients(given)
    torch.use_deterministic_algorithms(True)
    try:
        one, other = (run("triton", given, *back) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one[name], other[name]) for name in one)
