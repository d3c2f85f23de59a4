"""`make course` refuses a bad address or port in one line, and finds a free port."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(os.name == "nt", reason="make course is for Linux and macOS")


@pytest.fixture
def course(tmp_path):
    """Run course.sh with a Jupyter that prints its arguments."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    (folder / "jupyter").write_text('#!/bin/sh\necho "$@"\n')
    (folder / "jupyter").chmod(0o755)
    return lambda ip, port: subprocess.run(
        ["sh", "tools/course.sh", str(folder), ip, port], cwd=ROOT, capture_output=True, text=True,
        timeout=30)


@pytest.mark.parametrize(("ip", "port", "name"), [
    ("", "8888", "IP"), ("*", "8888", "IP"), ("0", "8888", "IP"), ("999.1.1.1", "8888", "IP"),
    ("example.com", "8888", "IP"), ("192.0.2.1", "8888", "IP"), ("-h", "8888", "IP"),
    ("127.0.0.1", "", "PORT"), ("127.0.0.1", "abc", "PORT"), ("127.0.0.1", "0", "PORT"),
    ("127.0.0.1", "99999", "PORT"), ("127.0.0.1", "-1", "PORT"), ("127.0.0.1", "8888.0", "PORT"),
    ("127.0.0.1", "8 8", "PORT"), ("127.0.0.1", "٣", "PORT"), ("127.0.0.1", "9" * 5000, "PORT")])
def test_a_bad_setting_is_refused_in_one_line(course, ip, port, name):
    result = course(ip, port)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"{name}: expected ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("given", ["as an argument", "in the environment"])
@pytest.mark.parametrize("code", ['"; touch ran; "', "$(shell touch ran)", "`touch ran`",
                                  "$$(touch ran)", "; touch ran"])
def test_make_runs_nothing_that_is_in_a_setting(code, given, tmp_path):
    """`make` prints the line that it would run; what it expands by itself, it runs all the same."""
    makefile = f"include {ROOT / 'Makefile'}\n$(VENV)/.installed-%: ;\ntools/%: ;\n"
    (tmp_path / "Makefile").write_text(makefile)
    (tmp_path / "tools").mkdir()
    for name in ("course.sh", "venv.sh"):
        (tmp_path / "tools" / name).write_text('printf "%s\\n" "$@"\n')
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    for name in ("python", "pytest", "ruff"):
        (folder / "bin" / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    for name in ("pyproject.toml", ".constraints.txt", ".venv/pyvenv.cfg",
                 ".venv/.installed-course", ".venv/.installed-dev"):
        (tmp_path / name).touch()
    settings = dict.fromkeys(("PYTHON", "IP", "PORT", "JOBS", "ONLY", "CHAPTER"), code)
    arguments = [] if given == "in the environment" else [f"{k}={v}" for k, v in settings.items()]
    # The tests may be run by a make, which would tell this one that it is its child.
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    for target in ("course", "reset", "browser", "mutants", "-B .venv/pyvenv.cfg"):
        done = subprocess.run(["make", *target.split(), *arguments], cwd=tmp_path, timeout=30,
                              env=outside | settings, capture_output=True, text=True,
                              check=False)
        if target == "course":
            assert done.stdout.splitlines()[-3:] == [".venv/bin", code, code], done.stderr
        if target == "reset":
            assert done.stdout.splitlines()[-1] == code, done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("length", "transport"), [(57, True), (58, False)])
@pytest.mark.skipif(sys.platform != "linux", reason="the transport of Linux")
def test_kernels_start_also_where_the_folder_of_their_sockets_has_a_long_name(
        course, length, transport, tmp_path):
    (tmp_path / "venv" / "bin" / "jupyter").write_text(
        f'#!/bin/sh\n[ "$1" = --runtime-dir ] && echo /{"r" * (length - 1)} || echo "$@"\n')
    assert ("--KernelManager.transport=ipc" in course("127.0.0.1", "8888").stdout) is transport


@pytest.mark.parametrize("ip", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_the_next_free_port_is_taken_and_the_token_stays(course, ip):
    with socket.socket() as busy:
        busy.bind(("0.0.0.0" if ip == "0.0.0.0" else "127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        result = course(ip, str(port))
    assert result.returncode == 0
    assert f"Port {port} is in use; using " in result.stdout
    assert f"--ServerApp.ip={ip} " in result.stdout
    assert f"--ServerApp.port={port} " not in result.stdout
    for word in ("token", "password", "disable_check_xsrf"):
        assert word not in result.stdout
