"""Drag Δλ over the complex plane and see which rule's state fades. The drawing is in
stability_explorer.js."""

from typing import ClassVar

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba import discretize
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import module

STEPS = 24
RULES = {"Euler": discretize.euler, "backward Euler": discretize.backward_euler,
         "bilinear": discretize.bilinear, "zero-order hold": discretize.zoh}


class StabilityExplorer(BrowserExplorer):
    """Δλ, a point of the complex plane, over the regions in which each rule's state fades and
    the states that it makes there, Āⁿ.

    Args:
        real, imaginary: the parts of Δλ at the start, from −4 to 2 and from −3 to 3.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "stability_explorer.js"
    _esm = module(file)
    settings = ("real", "imaginary")
    limits: ClassVar = {"real": (-4, 2), "imaginary": (-3, 3)}
    real, imaginary = (traitlets.TraitType().tag(sync=True) for _ in range(2))

    def __init__(self, real: float = -0.5, imaginary: float = 1.5) -> None:
        super().__init__(real=real, imaginary=imaginary)

    _check_number = traitlets.validate(*limits)(BrowserExplorer._check_limits)

    def poles(self) -> dict[str, complex]:
        """Ā by each rule."""
        z = torch.tensor([complex(self.real, self.imaginary)], dtype=torch.complex128)
        return {name: pole.item() for name, pole in _poles(z).items()}

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        true = torch.tensor(self.real, dtype=torch.float64).exp().item()
        told = "; ".join(f"{rule} {abs(pole):.3g}, {_fate(abs(pole))}"
                         for rule, pole in self.poles().items())
        return (f"Δλ = {self.real:.2f} {'-' if self.imaginary < 0 else '+'} "
                f"{abs(self.imaginary):.2f}i, where the true mode {_fate(true)}. "
                f"|Ā| by each rule: {told}.")

    def _figure(self) -> Figure:
        real, imaginary = (torch.linspace(*ends, 121, dtype=torch.float64)
                           for ends in self.limits.values())
        z = torch.complex(*torch.meshgrid(real, imaginary, indexing="xy"))
        growth = {rule: pole.abs().reshape(z.shape) for rule, pole in _poles(z.flatten()).items()}
        powers = {rule: torch.tensor([(pole**n).real for n in range(STEPS + 1)])
                  for rule, pole in self.poles().items()}
        return plots.stability(z, growth, at=complex(self.real, self.imaginary), powers=powers)

    def __repr__(self) -> str:
        return f"StabilityExplorer(real={self.real:g}, imaginary={self.imaginary:g})"


def _poles(z: Tensor) -> dict[str, Tensor]:
    z = z + 1e-9j                       # steps around 1 and 2, where two of the rules divide by 0
    return {name: rule(z, torch.ones_like(z), 1.0)[0] for name, rule in RULES.items()}


def _fate(growth: float) -> str:
    if abs(growth - 1) <= 1e-6:
        return "stays"
    return "fades" if growth < 1 else "grows"
