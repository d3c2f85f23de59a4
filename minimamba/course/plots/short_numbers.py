"""Numbers as they are written in the cells of a schematic."""

FRACTIONS = {0.5: "½", 0.25: "¼", 0.75: "¾", 0.125: "⅛"}


def short(number: float) -> str:
    """Write a number in few characters.

    Args:
        number: any.

    Returns:
        ½, ¼, ¾ and ⅛ as one character, others in four digits and with a proper minus.
    """
    return FRACTIONS.get(number) or f"{number:.4g}".replace("-", "−")
