"""Sequence mixers, all with the interface of `minimamba.nn.mixer.Mixer`, and the layer around one.

`Mamba` is the block of the paper and `Mamba2` that of the next one; `S6`, `Attention`, `LSTM`,
`S4Block` and `MLP` are what they are compared and combined with.
"""

from minimamba.nn.attention import Attention, KVCache
from minimamba.nn.layers import Layer
from minimamba.nn.lstm import LSTM, LSTMCache
from minimamba.nn.mamba import Mamba, MambaCache
from minimamba.nn.mamba2 import Mamba2, Mamba2Cache
from minimamba.nn.mixer import Mixer
from minimamba.nn.mlp import MLP
from minimamba.nn.s4 import S4Block
from minimamba.nn.s6 import S6, SSMParameters

__all__ = ["LSTM", "MLP", "S6", "Attention", "KVCache", "LSTMCache", "Layer", "Mamba", "Mamba2",
           "Mamba2Cache", "MambaCache", "Mixer", "S4Block", "SSMParameters"]
