"""S4: state space models that train as a convolution and run as a recurrence.

`hippo` says which A remembers, `dplr` and `diagonal` how its kernel is computed, and `layers`
makes neural network layers of them (Gu et al. 2021, arXiv:2111.00396, and 2022,
arXiv:2206.11893).
"""

from minimamba.s4.layers import S4, S4D

__all__ = ["S4", "S4D"]
