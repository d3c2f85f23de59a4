"""The README's promises that a machine can check."""

import json
import re
import subprocess
import sys
from math import log
from pathlib import Path

import pytest
import torch

from minimamba import MambaConfig, MambaLM
from minimamba.ops.decode import SCAN_TILES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = README[README.index("## Reading the code"):README.index("## Other ways to install")]


def test_links_lead_to_files_that_exist():
    for link in re.findall(r"\]\(([^)\s]+)\)", README):
        assert link.startswith("http") or (ROOT / link).is_file(), link


def test_examples_run_in_order_and_do_what_the_text_says(tmp_path):
    examples = re.findall(r"```python\n(.+?)```", README, flags=re.S)
    assert len(examples) == 6
    scan, block, checkpoint, cache, generation, own_model = examples
    code = "\n".join([
        scan, "assert y.shape == x.shape",
        block.replace("for step", "first = None\nfor step").replace(
            "    print(step", "    first = first or loss.item()\n    print(step"),
        "assert loss.item() < 0.9 * first, (first, loss.item())",
        checkpoint, "assert logits.shape == (1, 13, 256)",
        cache, "assert logits.shape == (1, 256)",
        generation, "assert output_ids.shape == (1, 33)",
        own_model, "MambaLM.from_pretrained('my-hybrid')"])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch.Size([2, 100, 8]) torch.Size([2, 8, 16])" in done.stdout
    assert "def " in done.stdout
    assert (tmp_path / "my-checkpoint" / "config.json").is_file()


def test_make_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = r"make (course|update|reset|test|browser|notebooks|figures|site|mutants)"
    for target in set(re.findall(targets, README)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_every_notebook_is_listed_and_nothing_else():
    listed = re.findall(r"\(notebooks/(\w\d_\w+\.ipynb)\)", README)
    assert listed == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_map_lists_every_module():
    for path in (ROOT / "minimamba").iterdir():
        if path.name not in {"__init__.py", "__pycache__", "py.typed"}:
            assert f"`{path.name}" in TABLE, path.name
    for folder in ("nn", "scan", "ssd", "s4", "course"):
        row = next(line for line in TABLE.splitlines() if line.startswith(f"| `{folder}/`"))
        for path in (ROOT / "minimamba" / folder).iterdir():
            if path.name not in {"__init__.py", "__pycache__", "layers.py"}:
                assert f"`{path.name}" in row, path


def test_the_spine_has_as_many_lines_as_is_said():
    said = re.search(r"the spine of the course: ([\d,]+) lines", TABLE).group(1)
    lines = 0
    for name in re.findall(r"^\| `([^`]+)` • \|", TABLE, flags=re.M):
        path = ROOT / "minimamba" / name
        # The fast kernels are the one part of these folders that is not for a first reading.
        files = [path] if path.is_file() else [
            file for file in path.rglob("*.py") if file.parent.name != "triton"]
        lines += sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    assert int(said.replace(",", "")) == pytest.approx(lines, rel=0.05)


def test_the_command_of_the_test_section_is_what_ci_runs():
    assert "make test" in (ROOT / ".ci/run").read_text()
def test_decoding_speeds_are_the_measured_ones():
    def speeds(device, what="decode"):
        file = ROOT / f"benchmarks/results/generation_{device}.json"
        for row in json.loads(file.read_text())["rows"]:
            yield {name: part[f"{what}_tokens_per_second"] for name, part in row.items()
                   if isinstance(part, dict)}

    one, _, many = speeds("cuda")
    assert "3,700 tokens/s at batch size 1 and 161,000 tokens/s at batch size 128" in README
    assert [round(one["ours"], -2), round(many["ours"], -3)] == [3700, 161000]
    assert "66 and 24 times transformers" in README
    assert [round(row["ours"] / row["transformers"]) for row in (one, many)] == [66, 24]
    assert "2.71, 1.41 and 1.26 times as fast as the official package" in README
    assert [round(row["ours"] / row["official"], 2) for row in speeds("cuda")] == [2.71, 1.41, 1.26]
    assert "2,048 tokens 0.98, 1.37 and 1.50 times as fast" in README
    prefill = [row["ours"] / row["official"] for row in speeds("cuda", "prefill")]
    assert [round(ratio, 2) for ratio in prefill] == [0.98, 1.37, 1.5]
    assert "2.5, 2.1 and 2.0 times as fast as transformers at batch sizes 1, 32 and 128" in README
    assert [round(row["ours"] / row["transformers"], 1) for row in speeds("cpu")] == [2.5, 2.1, 2.0]


def test_ratios_to_the_official_kernel_are_the_measured_ones():
    assert ("0.3 to 0.66 of the official CUDA kernel's time in the forward pass, and 0.4 to 0.5 "
            "for forward + backward") in README
    rows = json.loads((ROOT / "benchmarks/results/fused_scan_cuda.json").read_text())["rows"]
    forward = [row["ours"]["forward"]["chosen"] / row["official"]["forward"] for row in rows]
    both = [(row["ours"]["learning"]["chosen"] + row["ours"]["backward"]["chosen"])
            / (row["official"]["forward"] + row["official"]["backward"]) for row in rows]
    assert [round(min(forward), 1), round(max(forward), 2)] == [0.3, 0.66]
    assert [round(min(both), 1), round(max(both), 1)] == [0.4, 0.5]
    assert max(row["ours"]["bytes"] / row["official"]["bytes"] for row in rows) < 1


def results(name):
    return json.loads((ROOT / f"benchmarks/results/{name}_cuda.json").read_text())


def test_times_of_calls_are_the_measured_ones():
    rows = {tuple(row["shape"]): row for row in results("scan_calls")["rows"]}

    def ratio(shape, way, time):
        return rows[shape]["ours"][way][time] / rows[shape]["official"][way][time]

    # Of the six machines, these results are those of one.
    assert "sequences of 512 steps took 0.6 to 1.4 times the official package's time" in README
    assert 0.6 <= ratio((2, 512, 1536, 16), "forward", "call") <= 1.4
    assert "in the forward pass, and 0.75 to 1.75 times for forward + backward" in README
    assert 0.75 <= ratio((2, 512, 1536, 16), "both", "call") <= 1.75
    assert "0.49 of the official GPU time with 32 components, 0.56 with 64 and 0.55 with" in README
    assert [round(ratio((8, 2048, 1536, d_state), "both", "gpu"), 2)
            for d_state in (32, 64, 128)] == [0.49, 0.56, 0.55]


def test_times_of_mamba_2_are_the_measured_ones():
    assert "0.36 to 0.40 of the official kernels' GPU time in the forward pass and" in README
    assert "0.36 to 0.39 for forward + backward. With 256 both take 0.58." in README
    assert "They need 0.55 to 0.76 of the official memory" in README
    assert "as Triton's `do_bench` measures it takes 0.10 to 0.37 of the official one" in README
    assert "1.9, 1.2 and 1.2 times as fast as with the official package at batch sizes 1" in README
    rows = [(row["shape"][4], row["ours"], row["official"]) for row in results("ssd")["rows"]]
    ratios = {way: {kind: {d_state: [] for d_state, *_ in rows} for kind in ("gpu", "call")}
              for way in ("forward", "both")}
    for d_state, ours, official in rows:
        for way, kinds in ratios.items():
            for kind, found in kinds.items():
                found[d_state].append(ours[way][kind] / official[way][kind])
    for way, bounds in (("forward", [0.36, 0.4]), ("both", [0.36, 0.39])):
        gpu = ratios[way]["gpu"]
        assert [round(extreme(gpu[64] + gpu[128]), 2) for extreme in (min, max)] == bounds
        assert round(gpu[256][0], 2) == 0.58
    calls = [ratio for kinds in ratios.values() for found in kinds["call"].values()
             for ratio in found]
    assert [round(min(calls), 2), round(max(calls), 2)] == [0.1, 0.37]
    memory = [ours["bytes"] / official["bytes"] for _, ours, official in rows]
    assert [round(min(memory), 2), round(max(memory), 2)] == [0.55, 0.76]
    speeds = [[row[who]["decode_tokens_per_second"] for who in ("ours", "official")]
              for row in results("generation_mamba2")["rows"]]
    assert [round(ours / official, 1) for ours, official in speeds] == [1.9, 1.2, 1.2]


def test_time_and_memory_of_a_training_step_are_the_measured_ones():
    assert "0.73 of the official package's GPU time and 0.77 of its memory" in README
    assert "of a Mamba-2 block 0.67 of the GPU time and 0.66 of the memory" in README
    assert "By the clock the model's step took 0.74 of the official time" in README
    for of, times, bounds in (("model", ("step_gpu_ms", "step_ms"), [0.73, 0.74, 0.77]),
                              ("mamba2_block", ("forward_backward_gpu_ms",), [0.67, 0.66])):
        ours, official = (results("training_step")[of][who] for who in ("ours", "official"))
        assert [round(ours[what] / official[what], 2) for what in (*times, "peak_bytes")] == bounds


def test_tables_of_the_benchmarks_are_the_measured_ones():
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    for name in ("scan_calls", "ssd"):
        for row in results(name)["rows"]:
            ours, official = row["ours"], row["official"]
            call, gpu = ("; ".join(f"{ours[way][time] / official[way][time]:.2f}"
                                   for way in ("forward", "both")) for time in ("call", "gpu"))
            memory = ours["bytes"] / official["bytes"]
            line = f"{row['shape'][-1]} | {call} | {gpu} | {memory:.2f} |"
            if name == "ssd":
                line += " {}; {} |".format(*(
                    round(100 * ours[way]["roofline"]) for way in ("forward", "both")))
            assert line in text, row["shape"]


def test_calls_of_compat_and_of_mamba_2_take_the_measured_times():
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = results("scan_calls")["rows"]
    found = {(way, rows.index(row) < 3): [] for row in rows for way in ("forward", "both")}
    for row in rows:
        for way in ("forward", "both"):
            ratio = row["compat"][way]["call"] / row["official"][way]["call"]
            found[way, rows.index(row) < 3].append(ratio)
    assert "1.2 to 1.4 times the official call's time for forward + backward at the three" in text
    assert [round(extreme(found["both", True]), 1) for extreme in (min, max)] == [1.2, 1.4]
    assert "and 0.49 to 0.56 at the others; its forward pass takes 0.76 to 1.48 and" in text
    assert [round(extreme(found["both", False]), 2) for extreme in (min, max)] == [0.49, 0.56]
    assert [round(extreme(found["forward", True]), 2) for extreme in (min, max)] == [0.76, 1.48]
    assert "and 0.49 to 0.76. Issuing a call of Mamba-2's scan takes 0.23 to 0.26" in text
    assert [round(extreme(found["forward", False]), 2) for extreme in (min, max)] == [0.49, 0.76]
    assert "and 0.32 and 0.28 with one sequence of 65,536 steps" in text
    issue = [[row["ours"][way]["issue"]["fastest"] / row["official"][way]["issue"]["fastest"]
              for way in ("forward", "both")] for row in results("ssd")["rows"]]
    long = issue.pop(2)
    assert results("ssd")["rows"][2]["shape"][1] == 65536
    assert [round(ratio, 2) for ratio in long] == [0.32, 0.28]
    others = [ratio for pair in issue for ratio in pair]
    assert [round(extreme(others), 2) for extreme in (min, max)] == [0.23, 0.26]
    assert max(row["ours"]["bytes"] / row["official"]["bytes"] for row in rows) < 2.1


def test_errors_of_mamba_2s_gradients_are_the_measured_ones():
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = results("ssd_errors")["rows"]
    cases, sizes = rows[:8], rows[8:]
    assert {row["draws"] for row in cases} == {40}
    assert "It takes forty random draws at 2 × 2,048 steps, 24 heads of 64 features and" in text
    assert "With an initial state, 19 other sizes follow, with usual and with weak decay" in text
    assert len(sizes) == 2 * 19
    assert all(row["has_state"] and not row["has_gate"] for row in sizes)
    assert sum(row["is_weak"] for row in sizes) == 19
    assert {row["length"] for row in sizes if row["draws"] == 10} == {100_003, 131_072}
    for name, least, most in (("length", 1, 131_072), ("n_heads", 1, 80), ("head_dim", 32, 128),
                              ("d_state", 16, 256), ("n_groups", 1, 8)):
        assert [extreme(row[name] for row in sizes) for extreme in (min, max)] == [least, most]

    ratios = [(log(ratio["mean"]) / max(log(ratio["factor"]), 1e-9), name, ratio, row)
              for row in rows for name, ratio in row["ratio"].items()]
    others = sorted((found for found in ratios if found[1] != "y"), key=lambda found: found[0])
    assert "Of the 414 means for gradients and final states, none tells us that our error" in text
    assert len(others) == 414
    assert "The farthest from chance, 2.6 standard errors above 1, is that of D's" in text
    distance, name, ratio, row = others[-1]
    assert (round(distance, 1), name, row["length"]) == (2.6, "d_D", 131_072)
    assert "131,072 steps: 1.09, where both errors are near 10⁻⁷. Next in size is 1.08, for" in text
    assert round(ratio["mean"], 2) == 1.09
    assert all(0.5e-7 < row[who]["d_D"]["mean"] < 2e-7 for who in ("ours", "official"))
    *_, second, _ = sorted(others, key=lambda found: found[2]["mean"])
    assert second[1] == "d_A"
    assert not any(second[3][has] for has in ("is_weak", "has_gate", "has_state"))
    assert [round(second[2][what], 2) for what in ("mean", "factor")] == [1.08, 1.11]
    assert "With a single step the gradient of A had 1.5 times the official error, until" in text
    before = results("ssd_kernels")["the initial state, rounded"]["d_A"]
    assert [round(ratio, 1) for ratio in before] == [1.5, 1.5]

    assert "the largest of forty is 2 to 7 times their geometric mean" in text
    spreads = [row[who]["d_A"]["largest"] / row[who]["d_A"]["mean"]
               for row in cases for who in ("ours", "official")]
    assert [round(extreme(spreads)) for extreme in (min, max)] == [2, 7]
    assert "B's gradient had 1.01 to 1.03 times the official error. Now it has 0.85 to" in text
    before = results("ssd_kernels")["B, where x is weighted"]["ratios"]
    assert [round(extreme(before), 2) for extreme in (min, max)] == [1.01, 1.03]
    of_B = [row["ratio"]["d_B"]["mean"] for row in cases]
    assert [round(extreme(of_B), 2) for extreme in (min, max)] == [0.85, 1.0]
    _, of_64, of_128, (as_is, corrected) = results("ssd_kernels")[
        "emulation of rounded states"].values()
    assert "with chunks of 64 steps is 1.5 times that with 256, and 1.3 times with" in text
    assert [round(of_64, 1), round(of_128, 1)] == [1.5, 1.3]
    assert "a correction for rounding the gradients of states gains 14 %." in text
    assert round(100 * (1 - corrected / as_is)) == 14


def test_errors_of_mamba_2s_outputs_are_the_measured_ones():
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = results("ssd_errors")["rows"]
    of_y = {is_weak: sorted((row["ratio"]["y"]["mean"], row["n_heads"]) for row in rows
                            if row["is_weak"] == is_weak) for is_weak in (False, True)}
    assert "at most 1.004 times with usual decay, and 1.018 times with 80 heads and weak" in text
    assert round(of_y[False][-1][0], 3) == 1.004
    largest, n_heads = of_y[True].pop()
    assert (round(largest, 3), n_heads) == (1.018, 80)
    assert "In the other cases of weak decay it is at most 1.0004 times that, and 0.87 at" in text
    assert [round(of_y[True][i][0], 4) for i in (-1, 0)] == [1.0004, 0.873]
    tried = results("ssd_kernels")["walk, exact weights"]
    assert "would be 1.002 times the official one with usual decay, and 0.91 with weak." in text
    assert [round(ratio, 2 + (ratio > 1)) for ratio in tried["errors of y"][1]] == [1.002, 0.91]
    assert "would take 10 to 16 % longer: up to d_state 128, 0.40 to 0.45 of the" in text
    longer = [after / before for before, after in zip(*tried["forward"], strict=True)]
    assert [round(100 * (extreme(longer) - 1)) for extreme in (min, max)] == [10, 16]
    measured = [row["ours"]["forward"]["gpu"] / row["official"]["forward"]["gpu"]
                for row in results("ssd")["rows"]]
    up_to_128 = [a * b for a, b in zip(measured[:4], longer[:4], strict=True)]
    assert [round(extreme(up_to_128), 2) for extreme in (min, max)] == [0.4, 0.45]


def test_what_bounds_the_kernels_has_the_measured_numbers():
    text = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    scans = {tuple(row["shape"]): row for row in results("scan_calls")["rows"]}
    many = [scans[8, 2048, 1536, d_state]["ours"] for d_state in (32, 64, 128)]
    backward = [ours["both"]["gpu"] - ours["forward"]["gpu"] for ours in many]
    assert "It takes 1.6 ms at 8" in text
    assert "3.8 ms with 64 and 7.4 ms with 128" in text
    assert [round(ms, 1) for ms in backward] == [1.6, 3.8, 7.4]
    assert "the peak memory of 364 MB" in text
    assert round(many[-1]["bytes"] / 1e6) == 364
    short = scans[1, 64, 1536, 16]
    issue = {who: [round(short[who][way]["issue"]["fastest"]) for way in ("forward", "both")]
             for who in ("ours", "compat", "compat, channels last")}
    assert "took 39 to 81 µs and 638 to 689 µs in the run above" in text
    assert "own call 36 and 420 µs" in text
    assert list(issue.values()) == [[36, 420], [81, 689], [39, 638]]

    ssd = results("ssd")["rows"][0]["ours"]
    batch, length, n_heads, head_dim, d_state = results("ssd")["rows"][0]["shape"]
    assert "takes 0.39 ms, the backward pass 0.30 ms of it" in text
    assert [round(ssd["both"]["gpu"], 2),
            round(ssd["both"]["gpu"] - ssd["forward"]["gpu"], 2)] == [0.39, 0.3]
    x = 2 * batch * length * n_heads * head_dim
    states = x * d_state // 64                             # before chunks of 64 steps
    assert "These states are 100 MB." in text
    assert "The peak memory is 176 MB" in text
    assert (states // 10**6, round(ssd["bytes"] / 1e6)) == (100, 176)
    assert "with all states apart it would be 227 MB" in text
    assert round((ssd["bytes"] + states / 2) / 1e6) == 227
    assert "the decays, which are 9 % of the size of x" in text
    assert round(100 * 3 * 4 / (2 * head_dim)) == 9
    moved = 5 * states + 7 * x
    assert "0.85 GB in all, which takes 0.2 ms at the 4.3 TB/s" in text
    assert (int(moved / 1e7), round(1e3 * moved / 4.3e12, 1)) == (85, 0.2)
    assert round(results("fused_scan")["bandwidth"]["HBM"] / 1e12, 1) == 4.3

    assert "That takes 57 µs there, and 183 µs with 80 heads." in text
    assert "would take 0.31 and 0.33 of the official time, in place of 0.36 and 0.39" in text
    for row, us, ratios in zip(results("ssd")["rows"], (57, 183), ([0.31, 0.36], [0.33, 0.39]),
                               strict=False):
        name, again = row["ours"]["kernels"][2]
        ours, official = (row[who]["both"]["gpu"] for who in ("ours", "official"))
        assert (name, round(again)) == ("walk_states", us)
        assert [round((ours - saved) / official, 2) for saved in (again / 1e3, 0)] == ratios

    largest = results("ssd")["rows"][-1]
    assert largest["shape"] == [8, 2048, 24, 64, 256]
    assert "With d_state 256 the states are four times as large as x. With x, dy and dx" in text
    assert "takes 0.32 ms of the 0.67 ms of the backward pass" in text
    in_all = 5 * 4 * x + 7 * x
    largest = largest["ours"]
    assert [round(1e3 * in_all / 4.3e12, 2),
            round(largest["both"]["gpu"] - largest["forward"]["gpu"], 2)] == [0.32, 0.67]
    assert "`walk` takes 179 µs where it takes 87 with d_state 128" in text
    assert [round(row["kernels"][1][1]) for row in (largest, ssd)] == [179, 87]

    kernels = results("ssd_kernels")
    assert "the warps of a program need 112 instructions per step, in place of 53" in text
    assert "there was room for 16 steps: 144 instructions, and 209 µs" in text
    _, *counted = kernels["machine code"].values()
    assert [round(counted[2]), round(counted[0]), round(counted[1])] == [112, 53, 144]
    before = [round(us) for _, us in kernels["before, 8 x 2048, 24, 256"]]
    assert before[1] == 209
    assert "once more: 146 and 270 µs" in text
    assert "the whole state at once, it was {} and {} µs".format(*before[4:7:2]) in text
    assert "`walk_states` takes 113 and 139 µs" in text
    assert [round(us) for _, us in largest["kernels"][3:7]] == [113, 146, 139, 270]
    for (name, us), words in zip(kernels["tried, d_state 256"].items(), (
            "Three chunks in flight take {} µs",
            "{} µs where those of 16 steps take 366, so it keeps these. The forward pass with a "
            "gate takes {} µs,", "steps take {}, so it keeps these. The forward pass with a gate "
            "takes 197 µs, and took {} with the short ones.",
            "Four slices take {} and {} µs;", "two heads in flight, not three, takes {}.",
            "with half the columns per program {} and {},",
            "twice as many and eight warps {} and {},", "four chunks in flight {} and {}."),
            strict=True):
        assert words.format(*(map(round, us if isinstance(us, list) else [us]))) in text, name
    assert "Almost two thirds of what is left is memory traffic." in text
    assert 0.6 < 1e3 * moved / 4.3e12 / (ssd["both"]["gpu"] - ssd["forward"]["gpu"]) < 2 / 3
    now = {tuple(row["shape"]): row["ours"]["kernels"] for row in results("ssd")["rows"]}
    pairs = [(before, now[tuple(shape)]) for shape, before
             in zip(kernels["sizes"], kernels["before"], strict=True)]
    # Before the step gradients are four kernels, before which the decays were computed again.
    at_24, at_80, at_64 = ([[round(us) for _, us in part[len(part) - after:][:4]]
                            for part, after in zip(pair, (8, 6), strict=True)] for pair in pairs)
    for i, name in enumerate(("`walk_states`, states", "`read_gradients`",
                              "`walk_states`, their gradients", "`write_gradients`")):
        (a, b), (c, d) = ((part[i] for part in parts) for parts in (at_24, at_80))
        assert f"| {name} | {a}; {c} | {b}; {d} |" in text
    whole = [[f"{sum(us for _, us in part):,.0f}" for part in pair] for pair in pairs[:2]]
    assert "| {}; {} | {}; {} | |".format(*(sums[i] for i in (0, 1) for sums in whole)) in text
    assert f"{at_64[1][3]} for {at_64[0][3]} |" in text
    lines = re.findall(r"\| (\d+) \| (\d+) \| (\d+) \|", text.split("The next steps concerned")[1])
    _, *steps = kernels["steps"].values()
    assert [tuple(map(int, line)) for line in lines[:len(steps)]] == [
        tuple(round(100 * after / before) for before, after in zip(*step, strict=True))
        for step in steps]
    assert "heads of a sequence: that gains 1 % with 24 and with 80 heads" in text
    _, over_chunks, over_heads = kernels["steps of read_gradients"].values()
    assert [round(100 * (1 - b / a)) for a, b in zip(over_chunks, over_heads, strict=True)] == [
        1, 1, 0]
    assert "that gains 0.2 to 0.6 % at these three sizes, 0.8 % with 65,536 steps and" in text
    _, late, early = kernels["decays before dy"].values()
    *gains, at_65536, at_256 = (100 * (1 - b / a) for a, b in zip(late, early, strict=True))
    assert [round(extreme(gains), 1) for extreme in (min, max)] == [0.2, 0.6]
    assert (round(at_65536, 1), round(at_256)) == (0.8, 0)
    _, *runs = kernels["runs"].values()
    assert "Three runs before the last changes to the kernels differ by up to 0.02 in these" in text
    assert "with 80 heads forward + backward took 0.39 to 0.40 of the official time," in text
    assert "with d_state 64 the forward pass 0.40 to 0.41." in text
    of_sizes = [list(zip(*size, strict=True)) for size in zip(*runs, strict=False)]
    assert len(runs) == 3
    assert round(max(max(found) - min(found) for size in of_sizes for found in size), 2) == 0.02
    assert sorted(round(run[1][1], 2) for run in runs) == [0.39, 0.4, 0.4]
    assert sorted(round(run[3][0], 2) for run in runs) == [0.4, 0.4, 0.41]
    _, weighted_x, in_place, _, last = kernels["state last"].values()
    gains = [100 * (1 - b / a) for a, b in zip(weighted_x, last, strict=True)]
    assert "this gains 3 % of forward + backward with 24 and 80 heads and with 65,536 steps" in text
    assert [round(gains[i]) for i in (0, 1, 3)] == [3, 3, 3]
    assert "With d_state 64 the weighting alone gains 1 %." in text
    assert round(100 * (1 - in_place[2] / weighted_x[2])) == 1
    assert abs(in_place[2] - last[2]) < 1
    assert "the order is as it was, and the weighting costs 0.3 %." in text
    assert round(gains[4], 1) == -0.3
    assert "the weighted product cost 4 % at the first size, 418 µs for 402." in text
    assert [round(100 * (in_place[0] / weighted_x[0] - 1)), round(in_place[0]),
            round(weighted_x[0])] == [4, 418, 402]
    _, others, unchanged = kernels["other orders"].values()
    assert "In five other orders of loads and products forward + backward takes 394 to 402" in text
    assert "402 µs at the first size, and 393 in this one." in text
    assert (len(others), *(round(us) for us in (min(others), max(others), unchanged))) == (
        5, 394, 402, 393)
    _, *parts = kernels["issue, forward, 1 x 65536"].values()
    assert "took 116 µs: 58 for checks, plans and allocation, 14 to collect the kernels'" in text
    assert "and 44 for the launches by Triton and CUDA, 11 each." in text
    assert [parts[0], parts[2], parts[1] - parts[2], parts[0] - parts[1]] == [116, 58, 14, 4 * 11]
    assert "four launches, and issuing it takes a third of the official package's time," in text
    row = results("ssd")["rows"][2]
    ours, official = ([name for name, _ in row[who]["kernels"]] for who in ("ours", "official"))
    assert row["shape"][1] == 65536
    assert ours.index("walk") + 1 == 4
    assert official.index("_chunk_scan_fwd_kernel") + 1 == 5
    issue = [row[who]["forward"]["issue"]["fastest"] for who in ("ours", "official")]
    assert abs(issue[0] / issue[1] - 1 / 3) < 0.01
    long = kernels["before, 1 x 65536, 24, 128"], now[1, 65536, 24, 64, 128]
    passes = [[us for name, us in part if name in ("add_up", "walk_states")] for part in long]
    assert "It takes 114 µs. It took 82 µs" in text
    assert "a pass of its own, of 136 µs" in text
    assert "computed these states again, in a pass of 136 µs" in text
    assert [round(passes[1][0]), round(passes[0][1])] == [114, 136]
    tried = {name: us if isinstance(us, list) else [us] for name, us in kernels["tried"].items()}
    for name, words in {
            "write_gradients, sums by descriptors": "{} for 119 µs;",
            "write_gradients, sums by descriptors, d_state 64": "with d_state 64, {} for 75 |",
            "write_gradients, three heads": "{} for 119 µs, as only one program fits",
            "write_gradients, three heads, dx by pointers": "{} with dx stored by pointers",
            "write_gradients, decays before the loads": "{} to {} for 119 µs",
            "read_gradients, attention first": "{} for 80 µs",
            "read_gradients, a product per head": "`read_gradients` {} for 108 µs",
            "write_gradients, a product per head": "`write_gradients` {} for 119 |",
            "walk, three chunks": "{} for 88 µs at the first size",
            "walk, sums by descriptors": "before the other loads: {} µs",
            "walk, decays before the loads": "before the other loads: {} µs",
            "walk_states, 80 heads, two chunks": "with 80 heads {} and 181 µs for 182, and {} and",
            "walk_states, 80 heads, four chunks": " and {} µs for 182, and 285 and {} for the 243",
            "walk_states, 80 heads, half the columns": "| {} and 397 µs for 182, and {} and 460",
            "walk_states, 80 heads, eight warps": " and {} µs for 182, and 266 and {} for 243",
            "walk_states, 80 heads": "µs for {}, and 266 and 460 for {} |",
            "write_gradients, 80 heads, B and C by pointers, sums by descriptors, three heads":
                "| {} for 348 µs with 80 heads, 1 % of forward + backward",
            "write_gradients, 80 heads": "for {} µs with 80 heads",
            "add_up, three chunks": "It took {} µs when it rounded"}.items():
        assert words.format(*map(round, tried[name])) in text, name
    gained = (tried["write_gradients, 80 heads"][0] - tried[
        "write_gradients, 80 heads, B and C by pointers, sums by descriptors, three heads"][0])
    assert round(100 * gained / sum(us for _, us in pairs[1][1])) == 1
    of = {name: [round(us) for us in found] for name, found in kernels["tried, forward"].items()
          if name != "what"}
    first, last, *_ = of.values()
    assert ("loaded first the forward pass took {}, {} and {} µs (24 heads, 80 heads, d_state 64),"
            .format(*first) in text)
    assert "with it loaded last {}, {} and {}.".format(*last) in text
    _, *orders = kernels["walk's orders"].values()
    after, before, early = ([round(us) for us in order] for order in orders)
    assert f"before the scores are: {before[1]} µs for {after[1]} with d_state 64, and" in text
    assert f"with d_state 64, and {before[0]} with 128 in both orders." in text
    assert before[0] == after[0]
    assert f"That takes {early[1]} µs with 64 components, and would take {early[0]} with" in text
    at_64 = results("ssd")["rows"][3]
    assert at_64["shape"][4] == 64
    assert "Half the components make it only a quarter faster" in text
    assert round(1 - at_64["ours"]["forward"]["gpu"] / ssd["forward"]["gpu"], 2) == 0.25
    _, *tried_gates = (us if isinstance(us, str) else round(us)
                       for us in kernels["gate, d_state 64"].values())
    state_first, three, two = tried_gates
    assert f"Forward + backward with a gate takes {two} µs. With three chunks, where only" in text
    assert f"it took {three}, and {state_first} with the state updated first," in text
    of = {name: [f"{us:,.0f}" for us in found] for name, found
          in kernels["tried, both, 80 heads"].items() if name != "what"}
    runs, runs_forward, runs_256, order = of.values()
    assert "The forward pass then took {1} µs, not {0}, and".format(*runs_forward) in text
    assert "forward + backward {1}, not {0}.".format(*runs) in text
    assert "with d_state 256 forward + backward took {1} µs for {0}.".format(*runs_256) in text
    assert "would be read first: {1} µs for {0}.".format(*order) in text
    seen = kernels["nsight"]
    assert "memory was at 38 % of its peak" in text
    assert round(seen["read_gradients"]["DRAM, percent of the peak"]) == 38
    assert "a scheduler issued in 31 % of the cycles" in text
    assert round(seen["read_gradients"]["cycles with an issue, percent"]) == 31
    waits = [round(100 * part[why] / part["samples"]) for part in seen.values()
             for why in ("waiting for loads", "waiting at barriers")]
    assert "wait for loads in 25 % of the samples, and for each other at barriers in 23 %" in text
    assert "is alike: 23 % and 17 %" in text
    assert waits == [25, 23, 23, 17]

    step = results("training_step")
    block = [step["block"][who]["forward_backward_gpu_ms"] for who in ("ours", "official")]
    model = [step["model"][who]["step_gpu_ms"] for who in ("ours", "official")]
    assert "takes 2.0 ms of kernels, and 3.0 with the official package" in text
    assert [round(ms, 1) for ms in block] == [2.0, 3.0]
    outside = [whole - 24 * one for whole, one in zip(model, block, strict=True)]
    assert "Of its 66 ms per training step, 19 are outside" in text
    assert "In the official model it is 19, too." in text
    assert (round(model[0]), *map(round, outside)) == (66, 19, 19)
    one, some, many = json.loads(
        (ROOT / "benchmarks/results/generation_cuda.json").read_text())["rows"]
    assert "takes 17.2 ms, and 16.9 with the official package. With 32 prompts it is 1.5 ms" in text
    prefill = [row[who]["prefill_tokens_per_second"] for row, who in (
        (one, "ours"), (one, "official"), (some, "ours"))]
    assert [round(1e3 * 2048 / speed, 1) for speed in prefill] == [17.2, 16.9, 1.5]
    took = 1e3 * many["batch"] / many["ours"]["decode_tokens_per_second"]
    assert "Decoding 128 sequences at once takes 0.80 ms per step, and is 1.26 times" in text
    assert (many["batch"], round(took, 2)) == (128, 0.8)
    decoded = [many[who]["decode_tokens_per_second"] for who in ("ours", "official")]
    assert round(decoded[0] / decoded[1], 2) == 1.26
    config = MambaConfig(50280)                            # the 130M model's sizes are the defaults
    states = 128 * config.n_layer * 2 * config.d_model * config.d_state * 4
    with torch.device("meta"):
        weights = 2 * sum(weight.numel() for weight in MambaLM(config).parameters())
    assert "The states, 0.3 GB in float32" in text
    assert "0.26 GB of weights in bfloat16" in text
    assert (round(states / 1e9, 1), round(weights / 1e9, 2)) == (0.3, 0.26)
    traffic = 1e3 * (2 * states + weights) / 4.3e12
    assert "that takes 0.2 ms, so memory traffic explains a quarter" in text
    assert (round(traffic, 1), round(traffic / took, 2)) == (0.2, 0.25)
    step_of = results("decoding_kernels")
    before = {name: us for name, count, us in step_of["before"]["kernels"] if count > 1}
    assert ("When a step took 0.85 ms on the GPU, each layer needed 5.1 µs for in_proj, 3.2 for "
            "the convolution, 4.6 for x_proj, 2.9 for dt_proj, 8.3 for the scan, 5.3 for "
            "out_proj and 1.8 for the norm.") in text
    assert [round(before[name], 1) for name in (
        "in_proj", "conv_step", "x_proj", "dt_proj", "scan_step", "out_proj", "add_rms_norm")] == [
            5.1, 3.2, 4.6, 2.9, 8.3, 5.3, 1.8]
    assert "near the time of its memory traffic, 5.9 µs" in text
    assert round(1e6 * 2 * states / config.n_layer / 4.3e12, 1) == 5.9
    assert "and a step takes 0.76 ms on the GPU" in text
    assert [round(step_of[when]["step"] / 1e3, 2) for when in ("before", "now")] == [0.85, 0.76]
    assert [4, 64, 2] == step_of["now"]["tile"] == list(SCAN_TILES[64])
    took = {name: [round(us / 1e3, 2) for tile, us in found if tile != [4, 64, 2] or "axis" in name]
            for name, found in step_of["tried"].items()}
    assert "one sequence per program the step took 0.88 ms, and with six other tiles" in text
    assert took["in the kernels, one sequence"] == [0.88]
    assert "of 4 to 16 sequences 0.80 to 0.93 ms" in text
    assert (len(took["tiles"]), min(took["tiles"]), max(took["tiles"])) == (6, 0.8, 0.93)
    assert "the fastest of these tiles needs 0.80 ms" in text
    assert min(took["tiles, parts along the second axis"]) == 0.8
    assert "By the clock a step took 68 ms, 0.74 of the official time. Python needed 54 ms" in text
    clock = [step["model"][who]["step_ms"] for who in ("ours", "official")]
    assert (round(clock[0]), round(clock[0] / clock[1], 2)) == (68, 0.74)
    assert round(step["model"]["ours"]["step_issue_ms"]) == 54
    # As `WORTH_FUSING` in `ops/pre_norm.py` says of several machines.
    ours = step["model"]["ours"]
    assert 0.7 <= ours["step_issue_ms"] / ours["step_gpu_ms"] <= 1.25
