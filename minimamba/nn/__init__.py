"""Layers that mix a sequence, all with one interface: see `mixer.Mixer`."""
