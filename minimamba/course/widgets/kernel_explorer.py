"""Compute one output as a convolution and as a recurrence; js/kernel_explorer.js draws both."""

import cmath
import math
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import NamedTuple

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba import lti
from minimamba.course import corpora, plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import one_of, real_number, whole_number
from minimamba.course.widgets.javascript import bundle

LENGTH = 32
START = 4
"""The step at which the impulse is and the step input begins."""


def _impulse() -> Tensor:
    return (torch.arange(LENGTH) == START).double()


def _step() -> Tensor:
    return (torch.arange(LENGTH) >= START).double()


@lru_cache
def _eeg() -> Tensor:
    """A part of the EEG with two oscillations, rounded because the browser gets it as text."""
    return corpora.eeg().x[576:576 + LENGTH].mul(100).round() / 100


INPUTS = {"EEG": (_eeg, ", standard deviations"), "impulse": (_impulse, ""), "step": (_step, "")}
"""A function for each input, and its unit."""


def _packed_inputs() -> dict[str, dict]:
    """The inputs as text for the browser."""
    return {name: {"unit": unit, "samples": " ".join(f"{sample:g}" for sample in x().tolist())}
            for name, (x, unit) in INPUTS.items()}


class KernelResult(NamedTuple):
    """What a KernelExplorer shows."""

    x: Tensor
    """(32,), the input."""
    kernel: Tensor
    """(32,), K_l = Re Āˡ."""
    products: Tensor
    """(step + 1,), the inputs so far times the flipped kernel."""
    output: Tensor
    """(32,), by convolution."""
    state: Tensor
    """(32,), complex, by recurrence; its real part equals the output."""


class KernelExplorer(BrowserExplorer):
    """An explorer of the two ways to compute one output of an LTI system.

    The system is h_t = Ā h_{t−1} + x_t, y_t = Re h_t with one complex state, so that its kernel is
    K_l = Re Āˡ. The convolution flips the kernel, shifts it to the step t and sums its products
    with the input. The recurrence multiplies the state by Ā and adds the input.

    Args:
        step: t, the time step of the output, from 0 to 31.
        decay: |Ā|, the decay per step, from 0 to 1.
        angle: the angle of Ā in degrees, from 0 to 180: the state rotates by it in each step.
        input: "EEG", "impulse" or "step", 32 samples each.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "kernel_explorer.js"
    _esm = bundle(module)
    settings = ("step", "decay", "angle", "input")
    data = ("inputs",)
    step = whole_number(0, LENGTH - 1)
    """The time step t of the output."""
    decay = real_number(0, 1)
    """The decay per step, |Ā|."""
    angle = real_number(0, 180)
    """The angle of Ā, in degrees."""
    input = one_of(INPUTS)
    """The name of the input x."""
    inputs = traitlets.Dict().tag(sync=True)
    """The inputs, packed for the browser."""

    def __init__(self, step: int = 25, decay: float = 0.9, angle: float = 30.0,
                 input: str = "EEG") -> None:
        super().__init__(step=step, decay=decay, angle=angle, input=input, inputs=_packed_inputs())

    def compute(self) -> KernelResult:
        """Compute what is shown, with the library's functions."""
        x = INPUTS[self.input][0]()
        one = torch.ones(1, dtype=torch.complex128)
        A_bar = cmath.rect(self.decay, math.radians(self.angle)) * one
        kernel = lti.kernel(A_bar, one, one, LENGTH).real
        products = kernel[:self.step + 1].flip(0) * x[:self.step + 1]
        return KernelResult(x, kernel, products, lti.convolve(kernel, x),
                            lti.recurrence(A_bar, one, one, x))

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        result = self.compute()
        h = result.state[self.step].item()
        size = _decimals(abs(h.imag))
        sign = "−" if h.imag < 0 and float(size) else "+"
        total = _decimals(result.products.sum().item())
        terms = f"the {self.step + 1} products sum to" if self.step else "the only product is"
        return (f"Step {self.step}. Convolution: {terms} {total}. "
                f"Recurrence: the state is {_decimals(h.real)} {sign} {size}i, and its real part "
                f"is {_decimals(h.real)}.")

    def _figure(self) -> Figure:
        result = self.compute()
        return plots.convolution(result.x, INPUTS[self.input][1], result.kernel, result.products,
                                 result.output, result.state, self.step)

    def __repr__(self) -> str:
        return (f"KernelExplorer(step={self.step}, decay={self.decay:g}, angle={self.angle:g}, "
                f"input={self.input!r})")


def _decimals(value: float) -> str:
    """Three decimals, rounded as in JavaScript: halves away from 0, and no −0."""
    rounded = Decimal(round(value, 9) + 0.0).quantize(Decimal("0.001"), ROUND_HALF_UP)
    return str(rounded).replace("-", "−")
