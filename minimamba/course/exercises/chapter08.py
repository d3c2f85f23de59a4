"""Chapter 08: the backward kernel."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import silu, softplus

from minimamba.course.exercises import Exercise
from minimamba.course.exercises.kernels import first_only, kernel_exercise

BLOCK = 4
"""Channels of one program."""
CHUNK = 4
"""Steps from one saved state to the next."""


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def _with(definition, **mistake):
    return lambda *tensors: definition(*tensors, **mistake)


# 08.1

def adjoint(delta: Tensor, A: Tensor, C: Tensor, dy: Tensor, *, carried: bool = True,
            own_decay: bool = False, decay=torch.exp, backward: bool = True,
            whole: bool = True, stored_after: bool = False) -> dict[str, Tensor]:
    """The gradient of every state, by the reverse scan. The options are mistakes."""
    steps = range(len(dy))
    dh, from_later = torch.zeros(len(dy), *A.shape), torch.zeros_like(A)
    for t in reversed(steps) if backward else steps:
        A_bar = decay(delta[t][:, None] * A)
        dh[t] = dy[t][:, None] * C[t] + (A_bar * from_later if own_decay else from_later)
        carry = dh[t] if whole else dy[t][:, None] * C[t]
        from_later = (carry if own_decay else A_bar * carry) * carried
        if stored_after:
            dh[t] = from_later
    return {"dh": dh}


def _one_sequence(length: int, d_inner: int, d_state: int) -> tuple[Tensor, ...]:
    return (_random(length, d_inner).abs(), -_random(d_inner, d_state, seed=1).exp(),
            _random(length, d_state, seed=2), _random(length, d_inner, seed=3))


def _launch_adjoint(kernel, delta, A, C, dy, dh):
    d_inner, d_state = A.shape
    kernel[(triton.cdiv(d_inner, BLOCK),)](delta, A, C, dy, dh, len(dy), d_inner, BLOCK=BLOCK,
                                           N=d_state)


# 08.2

def gradients_of_step(dh: Tensor, before: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor,
                      *, stepped: bool = True, from_input: bool = True, from_decay: bool = True,
                      exponential: bool = True, rate: bool = True, decayed: bool = True,
                      state: bool = True, through_A: bool = True,
                      swapped: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The gradients of x_t, Δ_t, A and h_{t−1}, from that of h_t. The options are mistakes."""
    A_bar = torch.exp(delta[:, None] * A)
    d_exponent = dh * (before if state else 1) * (A_bar if exponential else 1)
    dh_B = (dh * B).sum(1)
    by_decay = (d_exponent * (A if through_A else 1)).sum(1)
    gradients = {"dx": (delta if stepped else 1) * dh_B,
                 "d_delta": from_decay * by_decay + from_input * x * dh_B,
                 "dA": d_exponent * (delta[:, None] if rate else 1),
                 "d_before": (A_bar if decayed else 1) * dh}
    swap = dict(zip(swapped, reversed(swapped), strict=True))
    return {name: gradients[swap.get(name, name)] for name in gradients}


def _one_step(d_inner: int, d_state: int) -> tuple[Tensor, ...]:
    return (_random(d_inner, d_state), _random(d_inner, d_state, seed=1), _random(d_inner, seed=2),
            _random(d_inner, seed=3).abs(), -_random(d_inner, d_state, seed=4).exp(),
            _random(d_state, seed=5))


@triton.jit
def _run_gradients_of_step(dh, before, x, delta, A, B, dx, d_delta, dA, d_before, d_inner,
                           BLOCK: tl.constexpr, N: tl.constexpr, FUNCTION: tl.constexpr):
    """Call an answer for a block of channels, and store what it returns."""
    channel, n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, N)
    exists = channel < d_inner
    state, state_exists = channel[:, None] * N + n[None, :], exists[:, None]
    gradients = FUNCTION(
        tl.load(dh + state, state_exists, 0.0), tl.load(before + state, state_exists, 0.0),
        tl.load(x + channel, exists, 0.0), tl.load(delta + channel, exists, 0.0),
        tl.load(A + state, state_exists, 0.0), tl.load(B + n))
    if gradients is not None:
        tl.store(dx + channel, gradients[0], exists)
        tl.store(d_delta + channel, gradients[1], exists)
        tl.store(dA + state, gradients[2], state_exists)
        tl.store(d_before + state, gradients[3], state_exists)


def _launch_gradients_of_step(function, *tensors):
    d_inner, d_state = tensors[0].shape
    _run_gradients_of_step[(triton.cdiv(d_inner, BLOCK),)](*tensors, d_inner, BLOCK=BLOCK,
                                                           N=d_state, FUNCTION=function)


# 08.3

def add_over_channels(dh: Tensor, h: Tensor, x: Tensor, delta: Tensor, dy: Tensor, *,
                      stepped: bool = True, of_gradient: bool = False) -> dict[str, Tensor]:
    """The gradients of B_t and C_t, summed over channels. The options are mistakes."""
    return {"dB": (dh * ((delta if stepped else 1) * x)[:, None]).sum(0),
            "dC": ((dh if of_gradient else h) * dy[:, None]).sum(0)}


def _with_other(name, summands):
    """The right gradients but for one, whose summands are others."""
    return lambda *tensors: {**add_over_channels(*tensors), name: summands(*tensors).sum(0)}


def _last_program(dh, h, x, delta, dy):
    """The part of the last program, which is all that is left if each stores its own."""
    first = (len(dh) - 1) // BLOCK * BLOCK
    return add_over_channels(*(tensor[first:] for tensor in (dh, h, x, delta, dy)))


def _over_components(dh, h, x, delta, dy):
    """The sums along the wrong axis: each program adds a value per channel."""
    given = torch.zeros(2, triton.cdiv(len(dh), BLOCK) * BLOCK)
    given[:, :len(dh)] = torch.stack(((dh * (delta * x)[:, None]).sum(1), (h * dy[:, None]).sum(1)))
    dB, dC = given.view(2, -1, BLOCK).sum(1)[:, :dh.shape[1]]
    return {"dB": dB, "dC": dC}


def _without_columns(dh, h, x, delta, dy):
    """The factors of the channels stand along the components, since [:, None] is missing."""
    tiles = triton.cdiv(len(dh), BLOCK) * BLOCK

    def added(state, factor):
        state, factor = (torch.cat([part, part.new_zeros(tiles - len(dh), *part.shape[1:])])
                         for part in (state, factor))
        row = factor.view(-1, 1, BLOCK)[..., :dh.shape[1]]
        return (state.view(-1, BLOCK, dh.shape[1]) * row).sum((0, 1))
    return {"dB": added(dh, delta * x), "dC": added(h, dy)}


def _one_state(d_inner: int, d_state: int) -> tuple[Tensor, ...]:
    return (_random(d_inner, d_state), _random(d_inner, d_state, seed=1), _random(d_inner, seed=2),
            _random(d_inner, seed=3).abs(), _random(d_inner, seed=4))


@triton.jit
def _run_add_over_channels(dh, h, x, delta, dy, dB, dC, d_inner, d_state, BLOCK: tl.constexpr,
                           N: tl.constexpr, FUNCTION: tl.constexpr):
    """Call an answer for a block of channels."""
    channel, n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, N)
    exists = channel < d_inner
    state = channel[:, None] * d_state + n[None, :]
    state_exists = exists[:, None] & (n < d_state)[None, :]
    FUNCTION(dB + n, dC + n, tl.load(dh + state, state_exists, 0.0),
             tl.load(h + state, state_exists, 0.0), tl.load(x + channel, exists, 0.0),
             tl.load(delta + channel, exists, 0.0), tl.load(dy + channel, exists, 0.0), n < d_state)


def _launch_add_over_channels(function, *tensors):
    d_inner, d_state = tensors[0].shape
    _run_add_over_channels[(triton.cdiv(d_inner, BLOCK),)](
        *tensors, d_inner, d_state, BLOCK=BLOCK, N=triton.next_power_of_2(d_state),
        FUNCTION=function)


# 08.4

def backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor,
             chunk_states: Tensor, dy: Tensor, *, saved: bool = True, gate: bool = True,
             skip: bool = True, direct: bool = True, carried: bool = True, sum_A: bool = True,
             sum_D: bool = True, after: bool = True, slope=lambda raw, delta: raw.sigmoid(),
             gate_slope=lambda z: z.sigmoid() * (1 + z * (1 - z.sigmoid())),
             read_skip: bool = True, gated_early: bool = False) -> dict[str, Tensor]:
    """All gradients of the selective scan, by the chain rule. The options are mistakes.

    A Δ with negative values goes through softplus; an empty z is no gate.
    """
    x, delta, z, dy = (tensor.float() for tensor in (x, delta, z, dy))
    raw, rectified = delta, bool((delta < 0).any())
    delta = softplus(raw) if rectified else raw
    before, h = [], torch.zeros(len(x), *A.shape)
    for t in range(x.shape[1]):
        if t % CHUNK == 0:
            h = chunk_states[:, t // CHUNK] * saved
        before.append(h)
        h = torch.exp(delta[:, t, :, None] * A) * h + (delta * x)[:, t, :, None] * B[:, t, None]
    dx, d_delta, dB, dC, dz = (torch.zeros_like(tensor) for tensor in (x, delta, B, C, z))
    dA, dD, from_later = torch.zeros_like(A), torch.zeros_like(D), torch.zeros_like(h)
    for t in reversed(range(x.shape[1])):
        A_bar = torch.exp(delta[:, t, :, None] * A)
        write = (delta * x)[:, t, :, None]
        h = A_bar * before[t] + write * B[:, t, None]
        dy_t = dy[:, t]
        if z.numel():
            y_t = (h * C[:, t, None]).sum(-1) + D * x[:, t] * read_skip
            gated = dy_t * silu(z[:, t])
            dz[:, t] = (gated if gated_early else dy_t) * y_t * gate_slope(z[:, t])
            dy_t = gated if gate else dy_t
        dh = from_later * carried + dy_t[..., None] * C[:, t, None] * direct
        d_exponent, dh_B = dh * A_bar * before[t], (dh * B[:, t, None]).sum(-1)
        dx[:, t] = delta[:, t] * dh_B + D * dy_t * skip
        d_delta[:, t] = (d_exponent * A).sum(-1) + x[:, t] * dh_B
        if rectified:
            d_delta[:, t] *= slope(raw[:, t], delta[:, t])
        dB[:, t] = (dh * write).sum(1)
        dC[:, t] = ((h if after else before[t]) * dy_t[..., None]).sum(1)
        dA += (d_exponent * delta[:, t, :, None]).sum(0) * sum_A
        dD += (dy_t * x[:, t]).sum(0) * sum_D
        from_later = A_bar * dh
    return {"dx": dx, "d_delta": d_delta, "dA": dA, "dB": dB, "dC": dC, "dD": dD, "dz": dz}


def _parts(batch: int, length: int, d_inner: int, d_state: int, dtype: torch.dtype = torch.float32,
           softplus: bool = True, gate: bool = True) -> tuple[Tensor, ...]:
    shapes = (batch, length, d_inner), (batch, length, d_state)
    delta = _random(*shapes[0], seed=1)
    chunk_states = _random(batch, triton.cdiv(length, CHUNK), d_inner, d_state, seed=8)
    z = _random(*shapes[0], seed=2) if gate else torch.zeros(0)
    return (_random(*shapes[0]).to(dtype), (delta if softplus else delta.abs()).to(dtype),
            -_random(d_inner, d_state, seed=3).exp(), _random(*shapes[1], seed=4),
            _random(*shapes[1], seed=5), _random(d_inner, seed=6), z.to(dtype), chunk_states,
            _random(*shapes[0], seed=7).to(dtype))


def _launch_backward(kernel, x, delta, A, B, C, D, z, chunk_states, dy, dx, d_delta, dA, dB, dC,
                     dD, dz):
    batch, length, d_inner = x.shape
    states = A.new_full((batch, CHUNK, *A.shape), float("nan"))
    gated = z.numel() > 0
    kernel[batch, triton.cdiv(d_inner, BLOCK)](
        x, delta, A, B, C, D, z if gated else None, chunk_states, dy, states, dx, d_delta, dA, dB,
        dC, dD, dz if gated else None, length, *A.shape, SOFTPLUS=bool((delta < 0).any()),
        CHUNK=CHUNK, BLOCK=BLOCK, N=triton.next_power_of_2(A.shape[1]))


# 08.5

def states_held(length: int, chunk: int) -> int:
    """Number of states that are stored or recomputed at once, with one stored per chunk."""
    return -(-length // chunk) + chunk


EXERCISES = {
    "08.1": kernel_exercise(
        adjoint, _launch_adjoint, _one_sequence, {"dh": ("step", "channel", "state component")},
        ({"length": 5, "d_inner": 6, "d_state": 2}, {"length": 1, "d_inner": 4, "d_state": 4}),
        {"That is only what comes through y_t. h_t also enters h_{t+1}: add from_later.":
            _with(adjoint, carried=False),
         "Only what came through y_t is handed on to step t − 1: it needs all of dh_t, decayed.":
            _with(adjoint, whole=False),
         "dh_t is stored too late: that is from_later already, the gradient of h_{t−1}.":
            _with(adjoint, stored_after=True),
         "The steps are in reverse order: store dh_t at step t, not at `back`.":
            lambda *tensors: {"dh": adjoint(*tensors)["dh"].flip(0)},
         "y_t is read with C_t: what comes through it is dy_t C_t, and C_t is missing.":
            lambda delta, A, C, dy: adjoint(delta, A, torch.ones_like(C), dy),
         "What comes through y_t is dy_t C_t: dy_t is missing.":
            lambda delta, A, C, dy: adjoint(delta, A, C, torch.ones_like(dy)),
         "What comes from the later step decays: it is multiplied by exp(Δ A).":
            _with(adjoint, decay=torch.ones_like),
         "Only the first block of channels is right: keep the lines that are given.":
            first_only(adjoint, BLOCK, axis=1),
         "What comes from step t + 1 decays with that step's Ā, not with Ā_t.":
            _with(adjoint, own_decay=True),
         "The decay is exp(Δ A): the exponential is missing.":
            _with(adjoint, decay=lambda exponent: exponent),
         "The loop runs from the first step to the last. Gradients begin at the last step.":
            _with(adjoint, backward=False)}),
    "08.2": kernel_exercise(
        gradients_of_step, _launch_gradients_of_step, _one_step,
        {"dx": ("channel",), "d_delta": ("channel",), "dA": ("channel", "state component"),
         "d_before": ("channel", "state component")},
        ({"d_inner": 6, "d_state": 2}, {"d_inner": 3, "d_state": 4}),
        {"The step adds Δ x B to the state, so dx has a factor Δ.":
            _with(gradients_of_step, stepped=False),
         "Δ stands in the decay and in Δ x B. The part of d_delta through Δ x B is missing.":
            _with(gradients_of_step, from_input=False),
         "Δ stands in the decay and in Δ x B. The part of d_delta through the decay is missing.":
            _with(gradients_of_step, from_decay=False),
         "The derivative of exp(Δ A) is exp(Δ A) itself: d_exponent needs the factor A_bar.":
            _with(gradients_of_step, exponential=False),
         "The exponent is Δ A, so dA is d_exponent times Δ.":
            _with(gradients_of_step, rate=False),
         "h_{t−1} is multiplied by the decay, so its gradient is A_bar times dh.":
            _with(gradients_of_step, decayed=False),
         "The decay multiplies the state before: d_exponent needs the factor `before`.":
            _with(gradients_of_step, state=False),
         "The exponent is Δ A, so in d_delta d_exponent is multiplied by A and summed.":
            _with(gradients_of_step, through_A=False),
         "x enters the state through B: multiply dh by B before the sum.":
            lambda dh, before, x, delta, A, B: gradients_of_step(
                dh, before, x, delta, A, torch.ones_like(B)),
         "x and Δ enter the state as a product: the part of d_delta through Δ x B has a factor x.":
            lambda dh, before, x, *rest: gradients_of_step(dh, before, torch.ones_like(x), *rest),
         "dx and d_delta are swapped: dx is returned first.":
            _with(gradients_of_step, swapped=("dx", "d_delta")),
         "dA and d_before are swapped: dA is returned third.":
            _with(gradients_of_step, swapped=("dA", "d_before"))}),
    "08.3": kernel_exercise(
        add_over_channels, _launch_add_over_channels, _one_state,
        {"dB": ("state component",), "dC": ("state component",)},
        ({"d_inner": 6, "d_state": 3}, {"d_inner": 4, "d_state": 4}),
        {"Only the last program's part is left. tl.store replaces what is there; use "
         "tl.atomic_add.": _last_program,
         "These are sums over the components. The channels are axis 0 of the tiles.":
            _over_components,
         "Δ x and dy are one number per channel: they need [:, None], to be columns.":
            _without_columns,
         "The step adds Δ x B to the state, so dB has the factor Δ x.":
            _with(add_over_channels, stepped=False),
         "y_t is the state read with C_t, so dC has the state h as a factor, not dh.":
            _with(add_over_channels, of_gradient=True),
         "The gradient of y_t is dy, and dC has it as a factor, not x.":
            _with_other("dC", lambda dh, h, x, delta, dy: h * x[:, None]),
         "The step adds Δ x B to the state, so dB has the factor Δ x: x is missing.":
            _with_other("dB", lambda dh, h, x, delta, dy: dh * delta[:, None]),
         "B changes h, so dB has the gradient dh as a factor, not the state.":
            _with_other("dB", lambda dh, h, x, delta, dy: h * (delta * x)[:, None]),
         "dB and dC are swapped.":
            lambda *tensors: dict(zip(("dC", "dB"), add_over_channels(*tensors).values(),
                                      strict=True)),
         "dC is right. Add dB as well.": _with_other("dB", lambda dh, *rest: 0 * dh),
         "dB is right. Add dC as well.": _with_other("dC", lambda dh, *rest: 0 * dh)},
        added_to=("dB", "dC")),
    "08.4": kernel_exercise(
        backward, _launch_backward, _parts,
        {"dz": ("sequence", "step", "channel"), "dC": ("sequence", "step", "state component"),
         "dB": ("sequence", "step", "state component"), "dx": ("sequence", "step", "channel"),
         "d_delta": ("sequence", "step", "channel"), "dA": ("channel", "state component"),
         "dD": ("channel",)},
        ({"batch": 2, "length": 6, "d_inner": 5, "d_state": 3, "dtype": torch.bfloat16},
         {"batch": 1, "length": 4, "d_inner": 4, "d_state": 2, "softplus": False, "gate": False}),
        {"The states don't start from those saved in chunk_states: part 1.":
            _with(backward, saved=False),
         "y is multiplied by silu(z), so from there on dy_t is too: part 2.":
            _with(backward, gate=False),
         "x_t also reaches y_t directly, through D x_t: add D dy_t to dx_t.":
            _with(backward, skip=False),
         "Δ is softplus(raw): d_delta_t needs the factor sigmoid(raw).":
            _with(backward, slope=lambda raw, delta: 1),
         "The derivative of softplus is the sigmoid of raw, not of Δ itself.":
            _with(backward, slope=lambda raw, delta: delta.sigmoid()),
         "dB and dC are still zero: call add_over_channels.":
            lambda x, delta, A, B, C, *rest: {**backward(x, delta, A, B, C, *rest),
                                              "dB": torch.zeros_like(B), "dC": torch.zeros_like(C)},
         "dh is only from_later. What comes through y_t is missing: dy_t times C_t.":
            _with(backward, direct=False),
         "dh is only what comes through y_t. Add from_later.": _with(backward, carried=False),
         "dA is still zero: add dA_t to dA_ at each step.": _with(backward, sum_A=False),
         "dD is still zero: add dy_t x_t to dD_ at each step.": _with(backward, sum_D=False),
         "dC needs the state after the step, h, not the one before it.":
            _with(backward, after=False),
         "y_t is ⟨C_t, h_t⟩ + D x_t: for dz the part with D is missing.":
            _with(backward, read_skip=False),
         "dz needs the gradient of the output: compute it before dy_t is multiplied by silu(z).":
            _with(backward, gated_early=True),
         "The gate is silu(z), whose derivative is silu_gradient(z), not the sigmoid of z.":
            _with(backward, gate_slope=torch.sigmoid),
         "dz is dy_t y_t silu′(z): that has silu(z), not its derivative.":
            _with(backward, gate_slope=silu)},
        added_to=("dA", "dB", "dC", "dD")),
    "08.5": Exercise(
        states_held,
        ({"length": 2048, "chunk": 64}, {"length": 2048, "chunk": 1}, {"length": 100, "chunk": 64}),
        {"Round up: a chunk that is not filled needs its saved state as well.":
            lambda length, chunk: length // chunk + chunk,
         "And the states inside the chunk whose turn it is.":
            lambda length, chunk: -(-length // chunk),
         "That is all of the states, as without chunks.":
            lambda length, chunk: length,
         "Those are the states of one chunk: and the saved ones?":
            lambda length, chunk: chunk,
         "Saved states and those of one chunk are added, not multiplied.":
            lambda length, chunk: -(-length // chunk) * chunk,
         "Where the length is a multiple of the chunk, that is one too many.":
            lambda length, chunk: length // chunk + 1 + chunk,
         "A number of states is whole.":
            lambda length, chunk: length / chunk + chunk,
         "Saved states and those of a chunk are held at the same time: add both.":
            lambda length, chunk: max(-(-length // chunk), chunk),
         "One state is saved per chunk, not per step.":
            lambda length, chunk: length + chunk,
         "The saved state of the chunk comes before its steps: it counts as well.":
            lambda length, chunk: -(-length // chunk) + chunk - 1}),
}
