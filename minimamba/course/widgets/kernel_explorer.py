"""Slide a flipped kernel over an input, and carry a state beside it: one output, made both ways.
The drawing is in kernel_explorer.js."""

import cmath
import math
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba import lti
from minimamba.arguments import check_one_of
from minimamba.course import corpora, plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import check_between, module

LENGTH, START = 32, 4


def _impulse() -> Tensor:
    return (torch.arange(LENGTH) == START).double()


def _step() -> Tensor:
    return (torch.arange(LENGTH) >= START).double()


@lru_cache
def _eeg() -> Tensor:
    """A stretch with two swings, to hundredths: the browser gets it as text."""
    return corpora.eeg().x[576:576 + LENGTH].mul(100).round() / 100


INPUTS = {"EEG": (_eeg, ", standard deviations"), "impulse": (_impulse, ""), "step": (_step, "")}


def _packed() -> dict[str, dict]:
    return {name: {"unit": unit, "samples": " ".join(f"{sample:g}" for sample in x().tolist())}
            for name, (x, unit) in INPUTS.items()}


class Seen(NamedTuple):
    """What the drawing shows: the input (32,), the kernel (32,), its products with the inputs so
    far (place + 1,), the output (32,) by convolution and the state (32,), complex, by recurrence,
    whose real part is the output too."""

    x: Tensor
    kernel: Tensor
    products: Tensor
    output: Tensor
    state: Tensor


class KernelExplorer(BrowserExplorer):
    """The place t, the pole Ā and the input, over the figure of the two ways to make y_t.

    The system has one complex state, h_t = Ā h_{t−1} + x_t, y_t = Re h_t; so its kernel is
    K_l = Re Āˡ. Convolution flips the kernel, slides it to t and adds up all products with the
    input; recurrence multiplies one number and adds another.

    Args:
        place: t, the step whose output is made, from 0 to 31.
        decay: |Ā|, what a step keeps of the state, from 0 to 1.
        turn: the angle of Ā, by which a step turns the state, from 0 to 180 degrees.
        input: "EEG", "impulse" or "step", 32 samples each.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "kernel_explorer.js"
    _esm = module(file)
    settings = ("place", "decay", "turn", "input")
    given = ("inputs",)
    limits: ClassVar = {"decay": (0, 1), "turn": (0, 180)}
    place, decay, turn, input = (traitlets.TraitType().tag(sync=True) for _ in range(4))
    inputs = traitlets.Dict().tag(sync=True)

    def __init__(self, place: int = 25, decay: float = 0.9, turn: float = 30.0,
                 input: str = "EEG") -> None:
        super().__init__(place=place, decay=decay, turn=turn, input=input, inputs=_packed())

    @traitlets.validate("place")
    def _check_place(self, proposal: dict) -> int:
        check_between("place", proposal["value"], 0, LENGTH - 1)
        return proposal["value"]

    _check_number = traitlets.validate(*limits)(BrowserExplorer._check_limits)

    @traitlets.validate("input")
    def _check_input(self, proposal: dict) -> str:
        check_one_of("input", proposal["value"], INPUTS)
        return proposal["value"]

    def seen(self) -> Seen:
        """What the drawing shows, by the library's own definitions."""
        x, one = INPUTS[self.input][0](), torch.ones(1, dtype=torch.complex128)
        A_bar = cmath.rect(self.decay, math.radians(self.turn)) * one
        kernel = lti.kernel(A_bar, one, one, LENGTH).real
        products = kernel[:self.place + 1].flip(0) * x[:self.place + 1]
        return Seen(x, kernel, products, lti.convolve(kernel, x),
                    lti.recurrence(A_bar, one, one, x))

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        seen = self.seen()
        h = seen.state[self.place].item()
        size = _said(abs(h.imag))
        sign = "−" if h.imag < 0 and float(size) else "+"
        many = f"{self.place + 1} products add up" if self.place else "1 product comes"
        return (f"Step {self.place}. Convolution: {many} to {_said(seen.products.sum().item())}. "
                f"Recurrence: the state is {_said(h.real)} {sign} {size}i, and its real part "
                f"{_said(h.real)}.")

    def _figure(self) -> Figure:
        seen = self.seen()
        return plots.convolution(seen.x, INPUTS[self.input][1], seen.kernel, seen.products,
                                 seen.output, seen.state, self.place)

    def __repr__(self) -> str:
        return (f"KernelExplorer(place={self.place}, decay={self.decay:g}, turn={self.turn:g}, "
                f"input={self.input!r})")


def _said(value: float) -> str:
    """Three decimals, a half away from 0 as in JavaScript; two numbers that differ by rounding
    alone read the same, and so do ±0."""
    rounded = Decimal(round(value, 9) + 0.0).quantize(Decimal("0.001"), ROUND_HALF_UP)
    return str(rounded).replace("-", "−")
