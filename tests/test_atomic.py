"""Atomic writes: a file holds the old contents or the new ones, never a part."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from minimamba import atomic


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "notes.json"
    file.write_text("old")
    return file


def write(file, text):
    with atomic.replacing(file) as temporary:
        temporary.write_text(text)


def test_new_contents_replace_the_old_and_no_other_file_stays(file):
    write(file, "new")
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_contents_alone(error, file):
    def fail(temporary):
        temporary.write_text("ha")
        raise error

    with pytest.raises(type(error)), atomic.replacing(file) as temporary:
        fail(temporary)
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.name == "nt", reason="on Windows, links need a privilege")
def test_link_stays_and_the_file_it_points_to_is_replaced(file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for target in (file, tmp_path / "elsewhere" / "new.json"):
        link = target.parent.parent / f"{tmp_path.name} {target.name}"
        link.symlink_to(target)
        write(link, "new")
        assert link.is_symlink()
        assert target.read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_nobody_else_may_read_the_new_contents(file):
    file.chmod(0o600)
    write(file, "new")
    assert file.stat().st_mode & 0o777 == 0o600


def test_library_that_fails_to_write_is_said_to_have_done_so(file):
    message = r"^.+notes.json: can't be written; is the disk full\? \(bad pos\)$"
    with pytest.raises(OSError, match=message), atomic.complete(file):
        raise RuntimeError("bad pos\nC++ frames")


def test_process_killed_while_writing_leaves_the_old_contents(file):
    code = ("import os, sys\nfrom minimamba import atomic\n"
            "with atomic.replacing(sys.argv[1]) as temporary:\n"
            "    temporary.write_text('ha')\n    os._exit(9)\n")
    done = subprocess.run([sys.executable, "-c", code, file], check=False)
    assert done.returncode == 9
    assert file.read_text() == "old"


def test_contents_are_on_the_disk_before_the_name_is(file, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original: (
            calls.append(name), original(*args)))
    write(file, "new")
    assert calls[:2] == ["fsync", "replace"]


def test_several_writers_at_once_never_tear_a_file(file):
    texts = [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, file, text) for text in texts for _ in range(4)]
        seen = {file.read_text() for _ in range(50)}
        for writer in writers:
            writer.result()
    assert seen <= {"old", *texts}
    assert list(file.parent.iterdir()) == [file]


def test_folder_that_does_not_exist_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "notes.json", "new")
