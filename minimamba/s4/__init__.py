"""S4: state space models that train as a convolution and generate as a recurrence.

`hippo` constructs the A and B whose state holds the past; `dplr` and `diagonal` compute their
convolution kernels; `layers` has the neural network layers `S4` and `S4D` (Gu et al. 2021,
arXiv:2111.00396, and 2022, arXiv:2206.11893).
"""

from minimamba.s4.layers import S4, S4D

__all__ = ["S4", "S4D"]
