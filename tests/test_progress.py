"""Progress: in a notebook it leaves nothing, and nothing goes to stderr."""

import builtins

import pytest

from minimamba.progress import ProgressBar, announced


@pytest.mark.parametrize("in_notebook", [True, False])
def test_progress_leaves_nothing_in_a_notebook_and_goes_to_stderr_in_a_terminal(
        in_notebook, capsys, monkeypatch):
    if in_notebook:
        monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    for step in ProgressBar(range(3), "three"):
        if step == 1:
            with announced("compiling; some seconds, once."):
                pass
    print("done")
    shown = capsys.readouterr()
    if in_notebook:
        assert shown.err == ""
        assert "three: " in shown.out
        assert "\rcompiling; some seconds, once. " in shown.out
        assert shown.out.split("\r")[-1] == "done\n"
        assert shown.out.split("\r")[-2].isspace()
        assert "\n" not in shown.out.removesuffix("done\n")
    else:
        assert "three: 100%" in shown.err
        assert "compiling; some seconds, once.\n" in shown.err
        assert shown.out == "done\n"
