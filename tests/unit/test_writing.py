"""Files and folders appear whole or not at all, whatever else happens meanwhile."""

import errno
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepress import writing
from edgepress.artifacts import write_bytes
from edgepress.errors import ArtifactError
from edgepress.writing import atomic, atomic_folder

ROOT = Path(__file__).parents[2]
LARGE = 1 << 21


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".partial")]


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A process of its own that runs code."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_that_the_user_gives_new_files(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_bytes(b"half")
        1 / 0  # noqa: B018
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    script = """
        import resource, sys
        from pathlib import Path
        from edgepress.artifacts import write_bytes
        from edgepress.boundary import run_stage
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        run_stage(lambda: write_bytes(Path(sys.argv[1]), bytes(5000)))
    """
    process = python(script, path)
    _, words = process.communicate()
    message = f"error: cannot write {path}: File too large; free some space and run again\n"
    assert (process.returncode, words) == (1, message)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_what_a_writer_meets_elsewhere_is_named_by_its_own_name(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match=r"cannot write .*/file: No such file or directory \(.*/source\)"),
        atomic(tmp_path / "file") as temporary,
    ):
        temporary.write_bytes((tmp_path / "source").read_bytes())
    assert os.listdir(tmp_path) == []


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(ArtifactError, match=r"^cannot write .*file: Is a directory; check the folder"):
        write_bytes(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"^cannot write .*models/file: .*; check the folder"):
        write_bytes(tmp_path / "models" / "file", b"content")


@pytest.mark.parametrize(
    "name", ["/dev/edgepress-new", "/proc/self/new", "pipe", "link to a pipe", "link to a device"]
)
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to("pipe")
    (tmp_path / "link to a device").symlink_to("/dev/zero")
    path = tmp_path / name
    before = path.lstat() if path.is_symlink() or path.exists() else None
    with pytest.raises(ArtifactError, match=r"it is a pipe|it is a device|keeps no files there"):
        write_bytes(path, b"content")
    assert before is None or (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert leftovers(path.parent) == []


@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling"])
def test_a_link_is_replaced_and_never_written_through(tmp_path: Path, kind: str) -> None:
    """As DVC makes them into its cache, with cache.type symlink or hardlink."""
    cache, path = tmp_path / "cache", tmp_path / "workspace" / "model"
    path.parent.mkdir()
    cache.write_bytes(b"cached")
    cache.chmod(0o444)
    if kind == "hard":
        os.link(cache, path)
    else:
        path.symlink_to(cache)
    if kind == "dangling":
        cache.unlink()
    write_bytes(path, b"new")
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & stat.S_IWUSR
    assert cache.read_bytes() == b"cached" if kind != "dangling" else not cache.exists()


def test_a_link_in_the_way_of_the_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the fixed name of earlier versions, nor a name that somebody guessed."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".file.partial").symlink_to(victim)
    (tmp_path / ".file.000000000000.partial").symlink_to(victim)
    tokens = iter([bytes(6), bytes(6), b"\1" * 6])
    monkeypatch.setattr(os, "urandom", lambda _: next(tokens))
    write_bytes(tmp_path / "file", b"content")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 120, "[a]*?", "with\nbreak"])
def test_any_name_that_the_system_takes_will_do(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, b"content")
    assert os.listdir(tmp_path) == [name]


def _write_for_ever(path: Path, mark: bytes) -> None:
    while True:
        write_bytes(path, mark * LARGE)


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Path]:
    """Three processes that write one file, each another content, as fast as they can."""
    path = tmp_path / "file"
    write_bytes(path, b"a" * LARGE)
    forked = multiprocessing.get_context("spawn")
    processes = [forked.Process(target=_write_for_ever, args=(path, mark)) for mark in (b"a", b"b", b"c")]
    for process in processes:
        process.start()
    yield path
    for process in processes:
        process.kill()
        process.join()


def test_readers_and_writers_at_once_never_see_a_torn_file(writers: Path) -> None:
    seen: list[bytes] = []
    end = time.monotonic() + 60
    while time.monotonic() < end and (len(seen) < 100 or len(set(seen)) < 2):
        content = writers.read_bytes()
        assert len(content) == LARGE
        assert content == content[:1] * LARGE
        seen.append(content[:1])
    assert len(set(seen)) > 1, "the writers did not get to write"


KILLED = """
    import sys, time
    from pathlib import Path
    from edgepress.writing import atomic, atomic_folder
    folder = Path(sys.argv[1])
    with atomic(folder / "file") as one, atomic_folder(folder / "split") as two:
        one.write_bytes(b"half"), (two / "x").write_bytes(b"half")
        print("there", flush=True)
        time.sleep(60)
"""


def test_what_killed_processes_left_goes_with_the_next_write_and_what_live_ones_write_stays(
    tmp_path: Path,
) -> None:
    with python(KILLED, tmp_path) as dead, python(KILLED, tmp_path) as alive:
        for process in (dead, alive):
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
        dead.kill()
        dead.wait()
        assert len(leftovers(tmp_path)) == 4
        (tmp_path / ".file.note.partial").touch()
        write_bytes(tmp_path / "file", b"content")
        with atomic_folder(tmp_path / "split") as folder:
            (folder / "x").write_bytes(b"content")
        assert len(leftovers(tmp_path)) == 3, "the living process's, and what only looks like one"
        alive.send_signal(signal.SIGKILL)
    write_bytes(tmp_path / "file", b"content")
    with atomic_folder(tmp_path / "split") as folder:
        (folder / "y").write_bytes(b"content")
    assert sorted(os.listdir(tmp_path)) == [".file.note.partial", "file", "split"]
    assert os.listdir(tmp_path / "split") == ["y"]


def test_a_file_and_its_folder_are_on_the_disk_before_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        order.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        order.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_bytes(tmp_path / "new" / "file", b"content")
    assert order[0] == str(tmp_path), "the new folder's name"
    assert order[1].endswith(".partial")
    assert order[2:] == ["replace", str(tmp_path / "new")]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    path = tmp_path / "split"
    if not exchange:
        monkeypatch.setattr(writing, "_exchanged", lambda *_: False)
    for names in (["x", "y"], ["x", "z"]):
        with atomic_folder(path) as folder:
            for name in names:
                write_bytes(folder / name, name.encode())
        assert sorted(os.listdir(path)) == names
        assert os.listdir(tmp_path) == ["split"]


def test_a_folder_that_fails_half_way_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "split"
    path.mkdir()
    (path / "x").write_bytes(b"old")
    with pytest.raises(ArtifactError, match=r"cannot write .*split: No space"), atomic_folder(path) as folder:
        write_bytes(folder / "x", b"new")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == ["split"]
    assert (path / "x").read_bytes() == b"old"


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "split").write_bytes(b"")
    with (
        pytest.raises(ArtifactError, match="it is no folder; move it away"),
        atomic_folder(tmp_path / "split"),
    ):
        pass
