"""What was measured by the scripts in benchmarks/, for a chapter to show."""

import json
from pathlib import Path

from minimamba.arguments import check_one_of

HERE = Path(__file__).parent
FOLDERS = (HERE.parent.parent / "benchmarks" / "results", HERE / "results")
"""Where the files are in a clone, and where an installed library has its copies."""


def benchmark_results(name: str) -> dict:
    """Read what a benchmark wrote.

    Args:
        name: of the benchmark and its machine, such as "fused_scan_cuda".

    Returns:
        The contents of the file: the machine, the versions and the numbers.

    Raises:
        ValueError: if there is no such file.
    """
    files = {file.stem: file for folder in FOLDERS for file in sorted(folder.glob("*.json"))}
    check_one_of("name", name, tuple(files))
    return json.loads(files[name].read_text(encoding="utf-8"))
