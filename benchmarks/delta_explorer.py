"""How long the delta explorer takes to answer a slider, without the browser's share.

Usage: python benchmarks/delta_explorer.py
The bound is 150 ms from hand to eye; a browser on the same machine adds about 20 ms.
"""

from machine import save, seconds

from minimamba.widgets import DeltaExplorer


def main() -> None:
    explorer = DeltaExplorer()
    places = iter([0.011, 0.013] * 10_000)

    def move() -> None:
        explorer.delta.value = next(places)

    print(save("delta_explorer", "cpu", {"seconds per move": seconds(move, "cpu", 2.0)}))


if __name__ == "__main__":
    main()
