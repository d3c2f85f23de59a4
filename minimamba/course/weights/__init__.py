"""Small checkpoints that come with the library, for a chapter to look into.

What is in them, and the commands that made them, says the README beside this file.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
CODE = FOLDER / "code"
"""A model of Python's own source, byte by byte: 256 "tokens", d_model 128, two layers."""
TRANSFORMERS = FOLDER / "transformers"
"""Random weights as `transformers` writes them, and in scores.safetensors the scores, (2, 12, 40),
that its own model gives for the tokens that stand beside them, (2, 12)."""


def names() -> list[str]:
    """List the checkpoints in this folder.

    Returns:
        The names of their folders, such as "code", sorted.
    """
    return sorted(file.parent.name for file in FOLDER.glob("*/config.json"))
