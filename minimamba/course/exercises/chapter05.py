"""Chapter 05: selectivity."""

import math

import torch
from torch.nn.functional import softplus

from minimamba.course.exercises import Exercise


def discretize(delta, A, B, x):
    """Return Ā and B̄x, both (length, d_inner, d_state)."""
    A_bar = torch.exp(delta[..., None] * A)
    B_bar_x = (delta * x)[..., None] * B[:, None, :]
    return A_bar, B_bar_x


def count(d_inner, d_state, dt_rank):
    """Return the number of parameters of an S6 layer."""
    x_proj = d_inner * (dt_rank + 2 * d_state)
    return x_proj + dt_rank * d_inner + d_inner + d_inner * d_state + d_inner


def bias_for(delta):
    """Return the inverse of softplus at delta."""
    return delta + math.log(-math.expm1(-delta))


def scan(x, delta, A, B, C):
    """Return y of the selective scan, (batch, length, d_inner)."""
    return scan_of(torch.exp(delta[..., None] * A), (delta * x)[..., None] * B[:, :, None], C)


def scan_of(A_bar, B_bar_x, C):
    """Return y of a scan, given Ā and B̄x, both (batch, length, d_inner, d_state)."""
    h, y = torch.zeros_like(A_bar[:, 0]), []
    for t in range(A_bar.shape[1]):
        h = A_bar[:, t] * h + B_bar_x[:, t]
        y.append((h * C[:, t, None]).sum(-1))
    return torch.stack(y, 1)


def written_before_decay(x, delta, A, B, C):
    """Return y of a scan in which what a token writes decays at that same token."""
    A_bar = torch.exp(delta[..., None] * A)
    return scan_of(A_bar, A_bar * (delta * x)[..., None] * B[:, :, None], C)


def _one_long_sequence(x, delta, A, B, C):
    joined = (part.flatten(0, 1)[None] for part in (x, delta, B, C))
    x_joined, delta_joined, B_joined, C_joined = joined
    return scan(x_joined, delta_joined, A, B_joined, C_joined).view_as(x)


DELTA = torch.tensor([[0.1, 1.0], [2.0, 0.0], [0.5, 0.3]], dtype=torch.float64)
A = -torch.tensor([[1.0, 2.0, 3.0], [0.5, 1.0, 4.0]], dtype=torch.float64)
B = torch.tensor([[1.0, 0.0, 2.0], [0.5, -1.0, 1.0], [3.0, 1.0, 0.2]], dtype=torch.float64)
X = torch.tensor([[1.0, -1.0], [2.0, 3.0], [0.5, 4.0]], dtype=torch.float64)

EXERCISES = {
    "05.1": Exercise(
        discretize,
        ({"delta": DELTA, "A": A, "B": B, "x": X},
         {"delta": DELTA[:1], "A": 2 * A, "B": B[1:2], "x": X[2:]}),
        {"Mamba uses B̄ = ΔB, not that of the zero-order hold (chapter 02).":
            lambda delta, A, B, x: (discretize(delta, A, B, x)[0],
                                    (torch.expm1(delta[..., None] * A) / A) * B[:, None, :]
                                    * x[..., None]),
         "The input of the state is ΔBx: the x is missing.":
            lambda delta, A, B, x: discretize(delta, A, B, torch.ones_like(x)),
         "The input of the state is scaled by Δ too: with Δ = 0 nothing is added.":
            lambda delta, A, B, x: (discretize(delta, A, B, x)[0], x[..., None] * B[:, None, :]),
         "The exponential is missing: Ā = exp(ΔA).":
            lambda delta, A, B, x: (delta[..., None] * A, discretize(delta, A, B, x)[1]),
         "That is Euler's 1 + ΔA. Mamba's Ā is the exponential.":
            lambda delta, A, B, x: (1 + delta[..., None] * A, discretize(delta, A, B, x)[1]),
         "Ā is larger than 1 here: A is negative already, and needs no minus sign.":
            lambda delta, A, B, x: (torch.exp(-delta[..., None] * A),
                                    discretize(delta, A, B, x)[1]),
         "Δ is given as a step size: it needs no softplus any more.":
            lambda delta, A, B, x: discretize(softplus(delta), A, B, x),
         "A is given itself, not its logarithm: no second exponential.":
            lambda delta, A, B, x: (torch.exp(-delta[..., None] * torch.exp(A)),
                                    discretize(delta, A, B, x)[1]),
         "Δ is missing from the exponent of Ā: each token and channel has its own.":
            lambda delta, A, B, x: (torch.exp(A).expand(len(x), -1, -1),
                                    discretize(delta, A, B, x)[1]),
         "What a token adds doesn't decay at once: no Ā in B̄x.":
            lambda delta, A, B, x: (discretize(delta, A, B, x)[0],
                                    discretize(delta, A, B, x)[0] * discretize(delta, A, B, x)[1]),
         "B is missing from B̄x: it says which components the token goes into.":
            lambda delta, A, B, x: discretize(delta, A, torch.ones_like(B), x),
         "B is that of the first token everywhere. Each token has its own.":
            lambda delta, A, B, x: discretize(delta, A, B[:1].expand_as(B), x)}),
    "05.2": Exercise(
        count,
        ({"d_inner": 1536, "d_state": 16, "dt_rank": 96}, {"d_inner": 4, "d_state": 3,
                                                           "dt_rank": 1}),
        {"The bias of Δ is missing, one a channel, or D.":
            lambda d_inner, d_state, dt_rank: count(d_inner, d_state, dt_rank) - d_inner,
         "d_inner · d_state parameters are missing: A is learned too, and B and C are two.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - d_inner * d_state,
         "Δ goes down to dt_rank and up again: that is two matrices.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - dt_rank * d_inner,
         "The bias of Δ and D are missing, each with one parameter per channel.":
            lambda d_inner, d_state, dt_rank: count(d_inner, d_state, dt_rank) - 2 * d_inner,
         "Δ goes through a low rank, dt_rank, which is less than d_inner.":
            lambda d_inner, d_state, dt_rank: count(d_inner, d_state, d_inner),
         "B and C are made from the input too, with d_inner · d_state parameters each.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - 2 * d_inner * d_state,
         "x_proj has no bias: only dt_proj has one.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) + dt_rank + 2 * d_state,
         "Δ's bias comes after dt_proj, one per channel, not one per number of the low rank.":
            lambda d_inner, d_state, dt_rank: count(d_inner, d_state, dt_rank) - d_inner + dt_rank,
         "D is one number per channel: it doesn't have d_state of them.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - d_inner + d_inner * d_state,
         "A is (d_inner, d_state): each channel has its own.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - d_inner * d_state + d_state,
         "A is diagonal: d_state numbers per channel, not a matrix of d_state by d_state.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - d_inner * d_state + d_inner * d_state**2,
         "That is x_proj alone. What else has parameters?":
            lambda d_inner, d_state, dt_rank: d_inner * (dt_rank + 2 * d_state)}),
    "05.3": Exercise(
        bias_for,
        tuple({"delta": delta} for delta in (0.001, 0.1, 3.0, 2e-16, 800.0)),
        {"That is softplus; the question asks for its inverse.":
            lambda delta: math.log1p(math.exp(-delta)) + delta,
         "e^Δ − 1 loses its digits for a small Δ and overflows for a large one: rewrite it as "
         "e^Δ (1 − e^(−Δ)).":
            lambda delta: (torch.tensor(delta, dtype=torch.float64).exp() - 1).log().item(),
         "For a small Δ, e^Δ − 1 loses its digits: expm1 keeps them.":
            lambda delta: math.log(1 - math.exp(-delta)) + delta,
         "A large Δ overflows in e^Δ: take it out of the logarithm, Δ + ln(1 − e^(−Δ)).":
            lambda delta: torch.tensor(delta, dtype=torch.float64).expm1().log().item(),
         "That is ln Δ, the inverse for small Δ only.":
            lambda delta: math.log(delta),
         "That is Δ itself, the inverse for large Δ only.":
            lambda delta: delta,
         "Δ is missing in front of the logarithm: ln(e^Δ − 1) = Δ + ln(1 − e^(−Δ)).":
            lambda delta: math.log(-math.expm1(-delta)),
         "In ln(1 − e^(−Δ)) + Δ, Δ is added, not subtracted.":
            lambda delta: math.log(-math.expm1(-delta)) - delta,
         "The logarithm is missing: that is e^Δ − 1.":
            lambda delta: math.expm1(delta),
         "The inverse of a function undoes it. That is 1 divided by softplus.":
            lambda delta: 1 / (math.log1p(math.exp(-delta)) + delta),
         "That is the inverse of the sigmoid; Δ comes from a softplus.":
            lambda delta: math.log(delta / (1 - delta)),
         "The sign is wrong: a small Δ needs a very negative bias, a large one about Δ.":
            lambda delta: -bias_for(delta)}),
    "05.4": Exercise(
        scan,
        ({"x": torch.stack([X, 2 - X]), "delta": torch.stack([DELTA, 1 - DELTA / 2]),
          "A": A, "B": torch.stack([B, 1 - B]), "C": torch.stack([1 + B.flip(0), B])},
         {"x": X[None, :2], "delta": DELTA[None, :2], "A": A[:, :2], "B": B[None, :2, :2],
          "C": B[None, 1:, :2]}),
        {"What a token writes must not decay at that token: first decay h, then add ΔBx.":
            written_before_decay,
         "y is read after the update: C_t goes with h_t, not with h_{t−1}.":
            lambda x, delta, A, B, C:
            scan(x, delta, A, B, C) - (B * C).sum(-1, keepdim=True) * delta * x,
         "The input of the state is scaled by Δ too: ΔBx.":
            lambda x, delta, A, B, C:
            scan_of(torch.exp(delta[..., None] * A), x[..., None] * B[:, :, None], C),
         "Δ belongs in the exponent: Ā = exp(ΔA).":
            lambda x, delta, A, B, C: scan(delta * x, torch.ones_like(delta), A, B, C),
         "The state grows here: Ā = exp(ΔA), and A is negative already.":
            lambda x, delta, A, B, C: scan_of(torch.exp(-delta[..., None] * A),
                                              (delta * x)[..., None] * B[:, :, None], C),
         "That is Euler's 1 + ΔA. Mamba's Ā is the exponential.":
            lambda x, delta, A, B, C: scan_of(1 + delta[..., None] * A,
                                              (delta * x)[..., None] * B[:, :, None], C),
         "That is zero-order hold's B̄. Mamba's is ΔB.":
            lambda x, delta, A, B, C: scan_of(
                torch.exp(delta[..., None] * A),
                torch.expm1(delta[..., None] * A) / A * x[..., None] * B[:, :, None], C),
         "B and C are swapped: B writes into the state, C reads it.":
            lambda x, delta, A, B, C: scan(x, delta, A, C, B),
         "C is missing: y is read from the state by C_t.":
            lambda x, delta, A, B, C: scan(x, delta, A, B, torch.ones_like(C)),
         "B is missing: what is written is ΔBx.":
            lambda x, delta, A, B, C: scan(x, delta, A, torch.ones_like(B), C),
         "The state doesn't decay here: multiply it by Ā at each step.":
            lambda x, delta, A, B, C: scan(x, delta, torch.zeros_like(A), B, C),
         "Each y has only its own token: the decayed state before it is missing.":
            lambda x, delta, A, B, C: (B * C).sum(-1, keepdim=True) * delta * x,
         "The first token is left out: the state before it is 0, and it is written too.":
            lambda x, delta, A, B, C: scan(
                torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], 1), delta, A, B, C),
         "The state goes on from one sequence to the next. Each starts at 0.":
            _one_long_sequence}),
}
