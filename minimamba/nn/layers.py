"""What may stand in Mamba's place, or beside it, in a stack: an LSTM, S4D or S6 alone, an MLP.

All have the face of `block.Mamba`: (batch, length, d_model) to the same, a memory that goes in
and comes out, `step`, `empty`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, glu, silu

from minimamba.arguments import check_count
from minimamba.nn.s6 import S6
from minimamba.ops.linear import apply
from minimamba.s4.layers import S4D


class SSM(nn.Module):
    """GLU(W GELU(ssm(u))): along time in `ssm`, across features in W, as in S4's own block.

    Args:
        ssm: an `S4D` or an `S6` of d_model features.
        d_model: features.
    """

    def __init__(self, ssm: S4D | S6, d_model: int) -> None:
        super().__init__()
        self.ssm, self.out_proj = ssm, nn.Linear(d_model, 2 * d_model)

    def empty(self, batch: int) -> Tensor:
        if isinstance(self.ssm, S4D):
            return self.ssm.init_cache(batch)
        return self.ssm.initial_state(batch)

    def forward(self, u: Tensor, memory: Tensor | None = None, *, real: Tensor | None = None,
                return_memory: bool = False,
                method: str = "auto") -> Tensor | tuple[Tensor, Tensor]:
        """All steps at once; arguments as in `block.Mamba`."""
        if real is not None:
            u = u * real[..., None]  # an input of zero writes nothing
        # In half precision, a power of Ā would be no power of it.
        with torch.autocast(u.device.type, enabled=False):
            if isinstance(self.ssm, S4D):
                y = self.ssm(u, memory, return_cache=return_memory)
            else:
                y = self.ssm(u, initial_state=memory, return_last_state=return_memory,
                             method=method)
        y, memory = y if return_memory else (y, None)
        return (self._across(y), memory) if return_memory else self._across(y)

    def step(self, u: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        y, memory = self.ssm.step(u, memory)
        return self._across(y), memory

    def _across(self, y: Tensor) -> Tensor:
        return glu(apply(self.out_proj, gelu(y)), -1)


class Cells(NamedTuple):
    """What an LSTM remembers, (batch, d_model) each: its output and its cells."""

    h: Tensor
    c: Tensor


class LSTM(nn.Module):
    """An LSTM of d_model cells (Hochreiter and Schmidhuber 1997), and a projection."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_count("d_model", d_model)
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def empty(self, batch: int) -> Cells:
        none = self.out_proj.weight.new_zeros(batch, self.lstm.hidden_size)
        return Cells(none, none)

    def forward(self, u: Tensor, memory: Cells | None = None, *, real: Tensor | None = None,
                return_memory: bool = False,
                method: str = "auto") -> Tensor | tuple[Tensor, Cells]:
        """All steps at once; arguments as in `block.Mamba`, of which `method` changes nothing."""
        memory = memory or self.empty(len(u))
        if real is None:
            y, memory = self._run(u, memory)
        else:
            # Its biases write whatever the input: after each step of padding, all is forgotten.
            parts = []
            for now, there in zip(u.split(1, 1), real.split(1, 1), strict=True):
                part, memory = self._run(now, memory)
                memory = Cells(*(state * there for state in memory))
                parts.append(part)
            y = torch.cat(parts, 1)
        out = apply(self.out_proj, y)
        return (out, memory) if return_memory else out

    def step(self, u: Tensor, memory: Cells) -> tuple[Tensor, Cells]:
        out, memory = self(u[:, None], memory, return_memory=True)
        return out[:, 0], memory

    def _run(self, u: Tensor, memory: Cells) -> tuple[Tensor, Cells]:
        # PyTorch's own cells do not all run in half precision beside states that are not.
        with torch.autocast(u.device.type, enabled=False):
            y, states = self.lstm(u, tuple(state[None] for state in memory))
        return y, Cells(*(state[0] for state in states))


class MLP(nn.Module):
    """W_out (SiLU(a) · b) with a, b = u W_in: each step by itself (Shazeer 2020,
    arXiv:2002.05202). It remembers nothing.

    Inside it is 8/3 as wide, so that attention and this have the 12 d_model² weights of a
    Transformer's layer, and as many as two Mamba blocks.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_count("d_model", d_model)
        inside = 8 * -(-d_model // 3)
        self.in_proj = nn.Linear(d_model, 2 * inside, bias=False)
        self.out_proj = nn.Linear(inside, d_model, bias=False)

    def empty(self, batch: int) -> tuple[()]:
        return ()

    def forward(self, u: Tensor, memory: tuple[()] | None = None, *, real: Tensor | None = None,
                return_memory: bool = False,
                method: str = "auto") -> Tensor | tuple[Tensor, tuple[()]]:
        a, b = apply(self.in_proj, u).chunk(2, -1)
        out = apply(self.out_proj, silu(a) * b)
        return (out, ()) if return_memory else out

    def step(self, u: Tensor, memory: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return self(u), ()
