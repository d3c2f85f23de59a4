"""Move Δλ in the complex plane and see by which discretization rule the state decays.

The drawing is made by js/stability_explorer.js.
"""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from minimamba import discretize
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import real_number
from minimamba.course.widgets.javascript import bundle

STEPS = 24
REAL, IMAGINARY = (-4, 2), (-3, 3)
RULES = {"Euler": discretize.euler, "backward Euler": discretize.backward_euler,
         "bilinear": discretize.bilinear, "zero-order hold": discretize.zoh}


class StabilityExplorer(BrowserExplorer):
    """An explorer of stability: each rule's stable region in the plane of Δλ, and its powers Āⁿ.

    Args:
        real: the real part of Δλ, from −4 to 2.
        imaginary: the imaginary part of Δλ, from −3 to 3.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "stability_explorer.js"
    _esm = bundle(module)
    settings = ("real", "imaginary")
    real = real_number(*REAL)
    """The real part of Δλ."""
    imaginary = real_number(*IMAGINARY)
    """The imaginary part of Δλ."""

    def __init__(self, real: float = -0.5, imaginary: float = 1.5) -> None:
        super().__init__(real=real, imaginary=imaginary)

    def poles(self) -> dict[str, complex]:
        """The discrete pole Ā by each rule."""
        z = torch.tensor([complex(self.real, self.imaginary)], dtype=torch.complex128)
        return {rule: pole.item() for rule, pole in _poles(z).items()}

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        exact = torch.tensor(self.real, dtype=torch.float64).exp().item()
        rules = ", ".join(f"{rule} {abs(pole):.3g} ({_behaviour(abs(pole))})"
                          for rule, pole in self.poles().items())
        real = f"{self.real + 0.0:.2f}".replace("-", "−")
        return (f"Δλ = {real} {'−' if self.imaginary < 0 else '+'} {abs(self.imaginary):.2f}i: "
                f"the exact mode {_behaviour(exact)}. |Ā| by rule: {rules}.")

    def _figure(self) -> Figure:
        real, imaginary = (torch.linspace(*ends, 121, dtype=torch.float64)
                           for ends in (REAL, IMAGINARY))
        z = torch.complex(*torch.meshgrid(real, imaginary, indexing="xy"))
        growth = {rule: pole.abs().reshape(z.shape) for rule, pole in _poles(z.flatten()).items()}
        powers = {rule: torch.tensor([(pole**n).real for n in range(STEPS + 1)])
                  for rule, pole in self.poles().items()}
        return plots.stability(z, growth, at=complex(self.real, self.imaginary), powers=powers)

    def __repr__(self) -> str:
        return f"StabilityExplorer(real={self.real:g}, imaginary={self.imaginary:g})"


def _poles(z: Tensor) -> dict[str, Tensor]:
    """Ā by each rule for many Δλ; the small number avoids 1 and 2, where two rules divide by 0."""
    z = z + 1e-9j
    return {name: rule(z, torch.ones_like(z), 1.0)[0] for name, rule in RULES.items()}


def _behaviour(growth: float) -> str:
    """What a mode does that is multiplied by `growth` in each step."""
    if abs(growth - 1) <= 1e-6:
        return "stays constant"
    return "decays" if growth < 1 else "grows"
