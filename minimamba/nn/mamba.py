"""The Mamba block: what stands around the selective SSM (Gu and Dao 2023, section 3.4, figure 3).

    x, z = u W_in                 two branches, each `expand` times as wide as the model
    x = SiLU(conv(x))             along time, each channel by itself, over its last d_conv steps
    y = S6(x) · SiLU(z)           the selective SSM, and the gate
    out = y W_out
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from minimamba.arguments import check_count, check_shape, check_tensor, refuse, shape_of
from minimamba.nn.s6 import S6
from minimamba.ops import causal_conv1d, decode
from minimamba.ops.linear import apply, linear


class Memory(NamedTuple):
    """All that a block keeps of what it has read: of a size that no length changes."""

    inputs: Tensor
    """(batch, d_conv − 1, d_inner): what the convolution still looks back at, oldest first."""
    h: Tensor
    """(batch, d_inner, d_state): the state of the SSM, in float32 (or float64)."""


class Mamba(nn.Module):
    """(batch, length, d_model) to the same.

    Args:
        d_model: features outside. d_state: numbers of state a channel.
        d_conv: steps that the convolution sees. expand: d_inner / d_model.
        dt_rank: through how many numbers Δ is made; d_model/16, rounded up, if None.
        bias: whether the projections in and out have one. conv_bias: whether the convolution has.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2,
                 dt_rank: int | None = None, *, bias: bool = False,
                 conv_bias: bool = True) -> None:
        super().__init__()
        for name, size in (("d_model", d_model), ("d_conv", d_conv), ("expand", expand)):
            check_count(name, size)
        self.d_model, self.d_conv, self.d_inner = d_model, d_conv, expand * d_model
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner,
                                bias=conv_bias)
        self.ssm = S6(self.d_inner, d_state, dt_rank=-(-d_model // 16) if dt_rank is None
                      else dt_rank)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)

    def empty(self, batch: int) -> Memory:
        """The memory of a block that has read nothing."""
        weight = self.in_proj.weight
        wide = torch.promote_types(weight.dtype, torch.float32)
        return Memory(weight.new_zeros(batch, self.d_conv - 1, self.d_inner),
                      weight.new_zeros(batch, *self.ssm.A_log.shape, dtype=wide))

    def forward(self, u: Tensor, memory: Memory | None = None, *, real: Tensor | None = None,
                return_memory: bool = False,
                method: str = "auto") -> Tensor | tuple[Tensor, Memory]:
        """All steps at once.

        Args:
            u: (batch, length, d_model).
            memory: what came before; nothing if None.
            real: (batch, length) of bool, False at padding to the left, which leaves no trace.
            return_memory: whether to give the memory after the last step too.
            method: as in `minimamba.selective_scan`.
        """
        if u.ndim != 3 or u.shape[2] != self.d_model:
            refuse("u", f"shape (batch, length, {self.d_model})", shape_of(u))
        if real is not None:
            check_tensor("real", real, (torch.bool,))
            check_shape("real", real, tuple(u.shape[:2]), "(batch, length)")
        inputs, h = (None, None) if memory is None else self._checked(memory, len(u))
        x, z = self._branches(u)
        if real is not None:
            x = x * real[..., None]
        seen = x
        x = causal_conv1d.causal(x, self.conv1d.weight[:, 0], self.conv1d.bias, inputs)
        if real is not None:
            x = x * real[..., None]  # the convolution's bias has written there
        y, h = self.ssm(x, z, initial_state=h, return_last_state=True, method=method)
        out = apply(self.out_proj, y)
        if not return_memory:
            return out
        inputs = self.empty(len(u)).inputs if inputs is None else inputs
        inputs = torch.cat([inputs, seen[:, max(0, u.shape[1] - self.d_conv + 1):]], 1)
        # (Not from the end: of a convolution that sees one step, nothing is kept.)
        return out, Memory(inputs[:, inputs.shape[1] - self.d_conv + 1:], h)

    def step(self, u: Tensor, memory: Memory, *,
             in_place: bool = False) -> tuple[Tensor, Memory]:
        """One step, (batch, d_model) to the same, and the memory after it, with `in_place` in the
        tensors of the one before."""
        if u.ndim != 2 or u.shape[1] != self.d_model:
            refuse("u", f"shape (batch, {self.d_model})", shape_of(u))
        memory = self._checked(memory, len(u))
        if decode.runs(u):
            x, z = apply(self.in_proj, u).chunk(2, -1)
            x, inputs = decode.convolution(x, self.conv1d.weight[:, 0], self.conv1d.bias,
                                         memory.inputs, in_place=in_place)
        else:
            x, z = self._branches(u)
            seen = torch.cat([memory.inputs, x[:, None]], 1)     # (batch, d_conv, d_inner)
            inputs = memory.inputs.copy_(seen[:, 1:]) if in_place else seen[:, 1:]
            x = (seen * self.conv1d.weight[:, 0].T).sum(1)
            x = silu(x if self.conv1d.bias is None else x + self.conv1d.bias)
        y, h = self.ssm.step(x, memory.h, z, in_place=in_place)
        return apply(self.out_proj, y), Memory(inputs, h)

    def _branches(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """x and z, each by a product of its own: halves of one would have to be copied apart."""
        biases = (None, None) if self.in_proj.bias is None else self.in_proj.bias.chunk(2)
        return tuple(linear(u, weight, bias) for weight, bias
                     in zip(self.in_proj.weight.chunk(2), biases, strict=True))

    def _checked(self, memory: Memory, batch: int) -> Memory:
        if memory is None:
            refuse("memory", "a Memory, such as `empty` makes", "None")
        check_shape("memory.inputs", memory.inputs, (batch, self.d_conv - 1, self.d_inner),
                    "(batch, d_conv - 1, d_inner)")
        check_shape("memory.h", memory.h, (batch, *self.ssm.A_log.shape),
                    "(batch, d_inner, d_state)")
        return memory
