"""The lock: one process at a time, whatever happened to the one before."""

import subprocess
import sys

import pytest

from minimamba import lock
from minimamba.lock import locked

HOLD = """
import sys, time
from minimamba.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_of_another_process_is_refused_until_that_process_is_killed(tmp_path):
    file = tmp_path / "a.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, file], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline().strip() == b"held"
            with pytest.raises(BlockingIOError, match=r"a\.lock: another process holds this"):
                locked(file).__enter__()
        finally:
            process.kill()
    assert file.exists()
    with locked(file):
        assert file.exists()
    assert sys.platform == "win32" or not file.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no file that is open")
@pytest.mark.parametrize("created_again", [False, True])
def test_lock_on_a_file_that_was_deleted_meanwhile_is_refused(tmp_path, monkeypatch, created_again):
    file = tmp_path / "a.lock"
    original = lock._lock

    def after_its_holder(opened):
        file.unlink()
        if created_again:
            file.touch()
        original(opened)

    monkeypatch.setattr(lock, "_lock", after_its_holder)
    with pytest.raises(BlockingIOError, match=r"a\.lock: another process holds this"):
        locked(file).__enter__()


def test_lock_is_released_when_its_block_fails(tmp_path):
    def fail():
        with locked(tmp_path / "a.lock"):
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
