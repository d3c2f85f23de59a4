"""Progress bars: in a notebook they leave nothing, and nothing goes to stderr."""

import builtins

import pytest

from minimamba.progress import ProgressBar


@pytest.mark.parametrize("in_notebook", [True, False])
def test_a_bar_leaves_nothing_in_a_notebook_and_goes_to_stderr_in_a_terminal(
        in_notebook, capsys, monkeypatch):
    if in_notebook:
        monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    assert list(ProgressBar(range(3), "three")) == [0, 1, 2]
    print("done")
    shown = capsys.readouterr()
    if in_notebook:
        assert shown.err == ""
        assert "three: " in shown.out
        assert shown.out.split("\r")[-1] == "done\n"
        assert "3/3" not in shown.out.split("\r")[-2]
    else:
        assert "three: 100%" in shown.err
        assert shown.out == "done\n"
