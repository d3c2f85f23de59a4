"""Mamba-2's scan: every method against a loop over scalars, and against other people's scans."""

from functools import partial
from inspect import unwrap
from itertools import pairwise

import numpy as np
import pytest
import torch
from systems import F64, close, leaves, randn, uniform
from torch.autograd import gradcheck, gradgradcheck

from minimamba import selective_scan, ssd
from minimamba.ssd import chunked, methods, reference, why_not

every_method = pytest.mark.parametrize("method", ["reference", "quadratic", "chunked"])
faster_methods = pytest.mark.parametrize("method", ["quadratic", "chunked"])
OPTIONS = ("D", "z", "dt_bias", "initial_state")


def inputs(length=9, *, batch=2, n_heads=3, head_dim=3, n_groups=1, d_state=5, options=OPTIONS,
           D=(3, 3), seed=0):
    """Arguments in float64, for softplus."""
    sequence, state = (batch, length, n_heads, head_dim), (batch, length, n_groups, d_state)
    arguments = {"x": randn(*sequence, seed=seed), "dt": randn(*sequence[:3], seed=seed + 1),
                 "A": -uniform(0.1, 2, n_heads, seed=seed + 2), "B": randn(*state, seed=seed + 3),
                 "C": randn(*state, seed=seed + 4)}
    optional = {"D": randn(*D, seed=seed + 5), "z": randn(*sequence, seed=seed + 6),
                "dt_bias": randn(n_heads, seed=seed + 7),
                "initial_state": randn(batch, n_heads, head_dim, d_state, seed=seed + 8)}
    return arguments | {name: optional[name] for name in options}


def to(arguments, dtype):
    return {name: t.to(dtype) for name, t in arguments.items()}


def run(arguments, *, dt_softplus=True, **options):
    """Return y, the final state, and the gradients of all arguments."""
    tensors = dict(zip(arguments, leaves(*arguments.values()), strict=True))
    y, h = ssd(**tensors, dt_softplus=dt_softplus, return_final_state=True, **options)
    loss = (y * randn(*y.shape, seed=20)).sum() + (h * randn(*h.shape, seed=21)).sum()
    return y.detach(), h.detach(), *torch.autograd.grad(loss, list(tensors.values()))


def agree(arguments, *, seq_idx=None, **options):
    __tracebackhide__ = True
    wanted = run(arguments, seq_idx=seq_idx, method="reference")
    given = run(arguments, seq_idx=seq_idx, **options)
    for name, one, other in zip(("y", "h", *arguments), given, wanted, strict=True):
        scale = other.abs().max().item()
        assert (one - other).abs().max().item() <= 1e-12 * scale, name


def scalar_loop(x, dt, A, B, C, D=None, z=None, dt_bias=None, initial_state=None):
    """The paper's recurrence, one component of one state at a time."""
    dt = np.logaddexp(0, (dt if dt_bias is None else dt + dt_bias).numpy())
    x, A, B, C, D, z = (None if t is None else t.numpy() for t in (x, A, B, C, D, z))
    batch, _, n_heads, head_dim = x.shape
    n_groups, d_state = B.shape[2:]
    h = np.zeros((batch, n_heads, head_dim, d_state))
    if initial_state is not None:
        h += initial_state.numpy()
    y = np.zeros(x.shape)
    for b, t, head, p in np.ndindex(*x.shape):
        group = head * n_groups // n_heads
        for n in range(d_state):
            h[b, head, p, n] *= np.exp(dt[b, t, head] * A[head])
            h[b, head, p, n] += dt[b, t, head] * B[b, t, group, n] * x[b, t, head, p]
            y[b, t, head, p] += C[b, t, group, n] * h[b, head, p, n]
        if D is not None:
            y[b, t, head, p] += x[b, t, head, p] * (D[head] if D.ndim == 1 else D[head, p])
        if z is not None:
            y[b, t, head, p] *= z[b, t, head, p] / (1 + np.exp(-z[b, t, head, p]))
    return y, h


def test_methods_in_plain_pytorch_run_on_every_machine():
    assert methods() | {"triton": None} == dict.fromkeys(
        ("reference", "quadratic", "chunked", "triton"))
    with pytest.raises(ValueError, match=r"^method: expected 'reference', .+, got 'fast'$"):
        why_not("fast")


@every_method
@pytest.mark.parametrize(("options", "D", "n_groups"), [
    ((), (4,), 1), (OPTIONS, (4,), 4), (OPTIONS, (4, 3), 2), (("z",), (4,), 2),
    (("D",), (4, 3), 1), (("dt_bias",), (4,), 1), (("initial_state",), (4,), 2)])
def test_method_equals_scalar_loop(method, options, D, n_groups):
    arguments = inputs(5, n_heads=4, n_groups=n_groups, options=options, D=D)
    y, h = ssd(**arguments, dt_softplus=True, return_final_state=True, method=method)
    wanted_y, wanted_h = scalar_loop(**arguments)
    close(y, wanted_y)
    close(h, wanted_h)
    assert torch.equal(ssd(**arguments, dt_softplus=True, method=method), y)


@pytest.mark.parametrize(("length", "chunk_size"), [
    *((length, size) for length in (1, 63, 64, 65) for size in (None, 1, 7, 2000)),
    (1000, None), (1000, 37)])
def test_chunked_matches_reference_at_any_length_and_chunk_size(length, chunk_size):
    agree(inputs(length, batch=1, head_dim=2, d_state=3, D=(3,)), method="chunked",
          chunk_size=chunk_size)


@faster_methods
@pytest.mark.parametrize(("n_heads", "n_groups"), [(1, 1), (3, 3), (24, 1), (24, 8)])
def test_method_matches_reference_for_any_number_of_heads_and_groups(method, n_heads, n_groups):
    # Neither head_dim nor d_state is a power of two, and they differ.
    agree(inputs(21, n_heads=n_heads, n_groups=n_groups, D=(n_heads, 3)), method=method,
          chunk_size=8)


PACKED = torch.tensor([[4] * 9 + [0] * 1 + [1] * 11, [0] * 3 + [1] * 5 + [0] * 13])


@every_method
def test_packed_sequences_are_those_run_apart(method):
    arguments = inputs(21)
    y, h = ssd(**arguments, dt_softplus=True, seq_idx=PACKED, return_final_state=True,
               method=method, chunk_size=4)
    for row, ends in enumerate(([0, 9, 10, 21], [0, 3, 8, 21])):
        for start, end in pairwise(ends):
            alone = {name: t[row:row + 1] if name == "initial_state" else t if name in (
                "A", "D", "dt_bias") else t[row:row + 1, start:end]
                for name, t in arguments.items()}
            if start:
                del alone["initial_state"]
            y_alone, h_alone = ssd(**alone, dt_softplus=True, return_final_state=True)
            close(y[row:row + 1, start:end], y_alone)
        close(h[row:row + 1], h_alone)


@faster_methods
@pytest.mark.parametrize("chunk_size", [1, 4, 5, 64])
def test_gradients_of_packed_sequences_match_reference(method, chunk_size):
    agree(inputs(21), seq_idx=PACKED, method=method, chunk_size=chunk_size)


@every_method
def test_no_gradient_passes_from_a_packed_sequence_to_another(method):
    arguments = inputs(21)
    tensors = {name: t.clone().requires_grad_() for name, t in arguments.items()}
    y = ssd(**tensors, dt_softplus=True, seq_idx=PACKED[:1].expand(2, -1), method=method,
            chunk_size=4)
    y[:, 9:].sum().backward()
    for name in ("x", "dt", "B", "C", "z"):
        assert (tensors[name].grad[:, :9] == 0).all(), name
        assert (tensors[name].grad[:, 9:] != 0).any(), name
    assert (tensors["initial_state"].grad == 0).all()


@every_method
def test_split_sequence_with_carried_state_equals_one_run(method):
    arguments = inputs(21)
    scan = partial(ssd, dt_softplus=True, return_final_state=True, method=method, chunk_size=4)
    y, h = scan(**arguments)
    parts = [{name: t[:, steps] if name in ("x", "dt", "B", "C", "z") else t
              for name, t in arguments.items()} for steps in (slice(10), slice(10, None))]
    y_one, carried = scan(**parts[0])
    y_two, last = scan(**parts[1] | {"initial_state": carried})
    close(torch.cat([y_one, y_two], 1), y)
    close(last, h)


@every_method
@pytest.mark.parametrize("packed", [False, True])
def test_gradcheck_of_output_and_final_state(method, packed):
    arguments = inputs(4, batch=1, n_heads=2, head_dim=1, d_state=2, D=(2,))
    seq_idx = torch.tensor([[0, 0, 0, 1]]) if packed else None

    def scan(*tensors):
        return ssd(**dict(zip(arguments, tensors, strict=True)), dt_softplus=True, chunk_size=2,
                   return_final_state=True, seq_idx=seq_idx, method=method)

    assert gradcheck(scan, leaves(*arguments.values()))
    if packed:
        assert gradgradcheck(scan, leaves(*arguments.values()))


@every_method
def test_zero_dt_leaves_the_state_unchanged(method):
    arguments = inputs(70, options=("initial_state",))
    arguments["dt"] = torch.zeros_like(arguments["dt"])
    y, h = ssd(**arguments, return_final_state=True, method=method)
    assert torch.equal(h, arguments["initial_state"])
    close(y, torch.einsum("bhpn,btn->bthp", h, arguments["C"][:, :, 0]))


@every_method
@pytest.mark.parametrize(("A", "dt"), [(-0.01, (1e-3, 0.1)), (-16.0, (1e-3, 0.1)),
                                       (-1.0, (1e2, 1e4)), (0.5, (1e-3, 0.1))])
def test_weak_strong_and_growing_states_are_exact_and_finite_in_float32(method, A, dt):
    """Products of decays underflow to zero where that is right; there is no NaN and no infinity,
    nor in the gradients."""
    arguments = inputs(200, options=("D",), D=(3,)) | {
        "A": torch.full((3,), A, dtype=F64), "dt": uniform(*np.log(dt), 2, 200, 3).exp()}
    exact = run(arguments, dt_softplus=False, method="reference")
    single = run(to(arguments, torch.float32), dt_softplus=False, method=method)
    for given, wanted in zip(single, exact, strict=True):
        assert given.isfinite().all()
        assert (given - wanted).norm() <= 3e-6 * wanted.norm() + 1e-30


def test_decay_between_near_steps_is_exact_after_a_long_past():
    # The sums up to t and up to s are near −5000, where float32 has steps of 0.0005.
    log_decay = torch.cat([torch.full((500,), -10.0), torch.full((5,), -0.001)])
    mask = reference.decay_mask(log_decay)
    torch.testing.assert_close(mask[504, 500], torch.tensor(-0.004).exp(), rtol=2e-7, atol=0)
    assert (mask.triu(1) == 0).all()
    assert (mask.diagonal() == 1).all()


@every_method
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_single_precision_rounded_once(method, half):
    arguments = to(inputs(70), half)
    results = run(arguments, method=method)
    single = run(to(arguments, torch.float32), method=method)
    for given, wanted in zip(results[:2], single[:2], strict=True):
        assert torch.equal(given, wanted.to(given.dtype))
    assert results[0].dtype == half
    assert results[1].dtype == torch.float32
    _, h, *_ = run(arguments, method="reference")
    torch.testing.assert_close(results[1], h, rtol=1e-4, atol=1e-4)


def test_state_of_half_precision_accumulates_small_terms():
    ones = torch.ones(1, 1000, 1, 1, dtype=torch.bfloat16)
    for method in ("reference", "quadratic", "chunked"):
        _, h = ssd(ones, ones[..., 0] * 2**-10, torch.zeros(1).bfloat16(), ones, ones,
                   initial_state=torch.full((1, 1, 1, 1), 64.0), return_final_state=True,
                   method=method)
        assert h.item() == 64 + 1000 * 2**-10


@every_method
def test_autocast_changes_nothing(method):
    arguments = to(inputs(70), torch.float32)
    expected = run(arguments, method=method)
    with torch.autocast("cpu", torch.bfloat16):
        given = run(arguments, method=method)
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@every_method
def test_outputs_may_be_changed_in_place(method):
    arguments = inputs(9, options=("initial_state",))
    _, _, *wanted = run(arguments, method=method)
    tensors = dict(zip(arguments, leaves(*arguments.values()), strict=True))
    y, h = ssd(**tensors, dt_softplus=True, return_final_state=True, method=method)
    y += 1
    h += 1
    loss = (y * randn(*y.shape, seed=20)).sum() + (h * randn(*h.shape, seed=21)).sum()
    for one, other in zip(torch.autograd.grad(loss, list(tensors.values())), wanted, strict=True):
        close(one, other)


def test_chunked_saves_neither_all_states_nor_all_pairs_of_steps():
    length, heads, head_dim, d_state = 1024, 2, 16, 16
    arguments = inputs(length, batch=1, n_heads=heads, head_dim=head_dim, d_state=d_state,
                       options=())
    tensors = {name: t.requires_grad_() for name, t in arguments.items()}
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t,
                                                  lambda t: t):
        ssd(**tensors, dt_softplus=True, chunk_size=16)
    assert max(sizes) <= length * heads * 16


@faster_methods
def test_ssd_compiles_and_exports_as_one_graph_and_can_be_transformed(method):
    arguments = to(inputs(18), torch.float32)
    x = arguments.pop("x")

    class Scan(torch.nn.Module):
        def forward(self, x):
            return ssd(x, **arguments, dt_softplus=True, chunk_size=8, method=method,
                       seq_idx=PACKED[:, :18])

    scan = Scan()
    torch.compiler.reset()
    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    gradients = []
    for call in (scan, compiled, torch.export.export(scan, (x,)).module()):
        leaf = x.clone().requires_grad_()
        y = call(leaf)
        torch.testing.assert_close(y, scan(x))
        gradients += torch.autograd.grad(y.sin().sum(), leaf)
    gradients.append(torch.func.grad(lambda x: scan(x).sin().sum())(x))
    for gradient in gradients:
        torch.testing.assert_close(gradient, gradients[0])
    several = randn(3, *x.shape).float()
    torch.testing.assert_close(torch.vmap(scan)(several), torch.stack([*map(scan, several)]))


@every_method
def test_ssd_is_a_selective_scan_whose_channels_share_what_a_head_has(method):
    """A is repeated over d_state and head_dim, Δ over head_dim; all else is Mamba's scan."""
    batch, length, n_heads, head_dim, n_groups, d_state = 2, 70, 4, 3, 2, 5
    a = inputs(length, batch=batch, n_heads=n_heads, head_dim=head_dim, n_groups=n_groups,
               d_state=d_state, D=(n_heads, head_dim))
    y, h = ssd(**a, dt_softplus=True, return_final_state=True, method=method)
    per_channel = partial(torch.repeat_interleave, repeats=head_dim, dim=-1)
    y_mamba, h_mamba = selective_scan(
        a["x"].flatten(2), per_channel(a["dt"]), per_channel(a["A"])[:, None].expand(-1, d_state),
        a["B"], a["C"], a["D"].flatten(), a["z"].flatten(2), delta_softplus=True,
        delta_bias=per_channel(a["dt_bias"]), initial_state=a["initial_state"].flatten(1, 2),
        return_last_state=True)
    close(y.flatten(2), y_mamba, atol=1e-11)
    close(h.flatten(1, 2), h_mamba, atol=1e-11)


@every_method
def test_without_decay_ssd_is_causal_linear_attention(method):
    arguments = inputs(70, options=()) | {"A": torch.zeros(3, dtype=F64)}
    arguments["dt"] = torch.ones_like(arguments["dt"])
    scores = (arguments["C"][:, :, 0] @ arguments["B"][:, :, 0].mT).tril()
    close(ssd(**arguments, method=method),
          torch.einsum("bts,bshp->bthp", scores, arguments["x"]), atol=1e-11)


@pytest.mark.parametrize("length", [1, 64, 100])
def test_chunked_matches_transformers(length):
    mamba2 = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    # Where the official package is installed, its kernels take the place of this.
    transformers_scan = unwrap(mamba2.mamba2_chunk_scan)
    arguments = to(inputs(length, n_heads=4, n_groups=2, options=("D", "dt_bias"), D=(4,)),
                   torch.float32)
    state = randn(2, 4, 3, 5, seed=9).float()
    given, wanted = [], []
    for results, scan in (
            (given, lambda **t: ssd(**t, dt_softplus=True, initial_state=state,
                                    return_final_state=True)),
            (wanted, lambda x, **t: transformers_scan(
                x, **t, chunk_size=16, dt_softplus=True, initial_states=state,
                return_final_states=True))):
        tensors = dict(zip(arguments, leaves(*arguments.values()), strict=True))
        results += scan(**tensors)
        results += torch.autograd.grad(results[0].sin().sum() + results[1].sin().sum(),
                                       list(tensors.values()))
    for one, other in zip(given, wanted, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


BAD = [
    ("x", lambda x: x[0], r"shape \(batch, length, n_heads, head_dim\), got shape \(9, 3, 3\)"),
    ("dt", lambda dt: dt[:, :, :1], r"shape \(2, 9, 3\) = \(batch, length, n_heads\), got shape"),
    ("A", lambda A: A[:, None], r"shape \(3,\) = \(n_heads,\), got shape \(3, 1\)"),
    ("B", lambda B: B[:, :, 0], r"shape \(2, 9, n_groups, d_state\) .+, got shape \(2, 9, 5\)"),
    ("B", lambda B: B[:, :8], r"shape \(2, 9, n_groups, d_state\) .+, got shape \(2, 8, 1, 5\)"),
    ("B", lambda B: B.expand(-1, -1, 2, -1), r".+ divides n_heads = 3, got 2 in shape \(2, 9"),
    ("C", lambda C: C.expand(-1, -1, 3, -1), r"shape \(2, 9, 1, 5\) = \(batch, length, n_groups"),
    ("D", lambda D: D[:, :2], r"shape \(3, 3\) = \(n_heads, head_dim\), got shape \(3, 2\)"),
    ("D", lambda D: D[0, :2], r"shape \(3,\) = \(n_heads,\) or \(3, 3\) = .+, got shape \(2,\)"),
    ("z", lambda z: z.half(), "dtype float64, got float16"),
    ("dt_bias", lambda bias: bias[:1], r"shape \(3,\) = \(n_heads,\), got shape \(1,\)"),
    ("initial_state", lambda h: h.mT, r"shape \(2, 3, 3, 5\) = .+, got shape \(2, 3, 5, 3\)"),
    ("initial_state", lambda h: h / 0, "finite numbers, got"),
    ("dt", lambda dt: -1 - dt.abs(), r"steps of at least 0 \(or dt_softplus=True\), got -"),
    ("seq_idx", lambda _: torch.zeros(2, 9), "dtype int64 or int32 or bool, got float32"),
    ("seq_idx", lambda _: torch.zeros(9, dtype=torch.int32), r"shape \(2, 9\) = \(batch, length\)"),
    ("chunk_size", lambda _: 0, "a whole number from 1 up, got 0"),
    ("method", lambda _: "fast",
     "'auto', 'reference', 'quadratic', 'chunked' or 'triton', got 'fast'"),
]


@pytest.mark.parametrize(("name", "bad", "message"), BAD)
def test_bad_argument_is_named(name, bad, message):
    arguments = inputs()
    arguments["dt"] = arguments["dt"].abs()
    arguments["dt_bias"] = arguments["dt_bias"].abs()
    ssd(**arguments)
    with pytest.raises(ValueError, match=f"^{name}: expected {message}"):
        ssd(**arguments | {name: bad(arguments.get(name))})


def test_default_chunk_size_is_that_of_the_module(monkeypatch):
    monkeypatch.setattr(chunked, "_chunks", lambda t, size: pytest.fail(f"{size} steps"))
    with pytest.raises(pytest.fail.Exception, match=f"^{chunked.CHUNK_SIZE} steps"):
        ssd(**inputs(1000, options=()), dt_softplus=True)
