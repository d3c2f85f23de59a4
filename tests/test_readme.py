"""The README's promises that a machine can check."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)\s]+)\)", README):
        assert link.startswith("http") or (ROOT / link).is_file(), link


def test_its_example_runs():
    example = re.search(r"```python\n(.+?)```", README, flags=re.S).group(1)
    subprocess.run([sys.executable, "-c", example + "\nassert y.shape == x.shape"], check=True)


def test_its_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = r"make (course|test|browser|notebooks|figures|site|mutants)"
    for target in set(re.findall(targets, README)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_its_map_lists_every_notebook_and_every_module():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(notebooks/{path.name})" in README
    for path in (ROOT / "minimamba").iterdir():
        if path.name not in {"__init__.py", "__pycache__", "py.typed"}:
            assert f"`{path.name}" in README, path.name


def test_the_command_of_the_test_section_is_what_ci_runs():
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_its_rates_of_writing_are_the_measured_ones():
    def rates(device):
        file = ROOT / f"benchmarks/results/generation_{device}.json"
        for row in json.loads(file.read_text())["rows"]:
            yield {name: part["writing, tokens a second"] for name, part in row.items()
                   if isinstance(part, dict)}

    one, _, many = rates("cuda")
    for said, measured in (("1,550", one["ours"]), ("1,400", one["official"]),
                           ("126,700", many["ours"]), ("126,700", many["official"])):
        assert said in README
        assert abs(int(said.replace(",", "")) / measured - 1) < 0.005
    assert "28 and 20 times" in README
    assert [round(row["ours"] / row["transformers"]) for row in (one, many)] == [28, 20]
    assert "one text at 2.5 times the speed of transformers, 32 at once at 2.1 and 128" in README
    assert [round(row["ours"] / row["transformers"], 1) for row in rates("cpu")] == [2.5, 2.1, 2.0]


def test_its_shares_of_the_official_kernel_s_time_are_the_measured_ones():
    assert "0.3 to 0.65 of the official CUDA kernel's time forward, 0.4 to 0.5 both ways" in README
    rows = json.loads((ROOT / "benchmarks/results/fused_scan_cuda.json").read_text())["rows"]
    forward = [row["ours"]["forward"]["chosen"] / row["official"]["forward"] for row in rows]
    both = [(row["ours"]["learning"]["chosen"] + row["ours"]["backward"]["chosen"])
            / (row["official"]["forward"] + row["official"]["backward"]) for row in rows]
    assert [round(min(forward), 1), round(max(forward), 2)] == [0.3, 0.65]
    assert [round(min(both), 1), round(max(both), 1)] == [0.4, 0.5]
    assert max(row["ours"]["bytes"] / row["official"]["bytes"] for row in rows) < 1
