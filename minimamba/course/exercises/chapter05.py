"""Chapter 05: selectivity."""

import math

import torch

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
            lambda delta, A, B, x: (1 + delta[..., None] * A, discretize(delta, A, B, x)[1])}),
    "05.2": Exercise(
        count,
        ({"d_inner": 1536, "d_state": 16, "dt_rank": 96}, {"d_inner": 4, "d_state": 3,
                                                           "dt_rank": 1}),
        {"The bias of Δ is missing, one a channel, or D.":
            lambda d_inner, d_state, dt_rank: count(d_inner, d_state, dt_rank) - d_inner,
         "A is missing: it is learned too, d_inner · d_state parameters.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - d_inner * d_state,
         "Δ goes down to dt_rank and up again: that is two matrices.":
            lambda d_inner, d_state, dt_rank:
            count(d_inner, d_state, dt_rank) - dt_rank * d_inner,
         "The bias of Δ and D are missing, each with one parameter per channel.":
            lambda d_inner, d_state, dt_rank: count(d_inner, d_state, dt_rank) - 2 * d_inner,
         "Δ goes through a low rank, dt_rank, which is less than d_inner.":
            lambda d_inner, d_state, dt_rank: count(d_inner, d_state, d_inner)}),
    "05.3": Exercise(
        bias_for,
        tuple({"delta": delta} for delta in (0.001, 0.1, 3.0, 2e-16, 800.0)),
        {"That is softplus; the question asks for its inverse.":
            lambda delta: math.log1p(math.exp(-delta)) + delta,
         "For a small Δ, e^Δ − 1 loses its digits: expm1 keeps them.":
            lambda delta: math.log(1 - math.exp(-delta)) + delta,
         "A large Δ overflows in e^Δ: take it out of the logarithm, Δ + ln(1 − e^(−Δ)).":
            lambda delta: torch.tensor(delta, dtype=torch.float64).expm1().log().item(),
         "e^Δ − 1 loses its digits for a small Δ and overflows for a large one: rewrite it as "
         "e^Δ (1 − e^(−Δ)).":
            lambda delta: (torch.tensor(delta, dtype=torch.float64).exp() - 1).log().item()}),
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
            lambda x, delta, A, B, C: scan(delta * x, torch.ones_like(delta), A, B, C)}),
}
