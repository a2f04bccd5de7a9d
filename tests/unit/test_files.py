"""The way in for files: what is no regular file is refused at once, and nothing is read beyond a limit."""

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepress.artifacts import read_json
from edgepress.config.composition import compose
from edgepress.config.load import read as read_params
from edgepress.errors import ArtifactError, ConfigError, DataError, EdgepressError
from edgepress.files import opened_below, parse_json, read


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _links(path: Path) -> None:
    path.symlink_to(path.name)


STRANGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (_pipe, "is a pipe; expected a regular file"),
    "socket": (_socket, "is a socket or a device that is not there"),
    "folder": (Path.mkdir, "is a folder; expected a regular file"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "is a device; expected a regular file"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "is a device|is a socket or a device"),
    "of the system": (lambda path: path.symlink_to("/proc/self/maps"), "does not hold the 0 bytes"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    make, message = STRANGE[kind]
    path = tmp_path / "model.onnx"
    make(path)
    with pytest.raises((DataError, OSError), match=message):
        read(path, refusal=DataError)


@pytest.mark.parametrize("make", [_links, lambda path: path.symlink_to("absent")])
def test_links_that_lead_nowhere_are_the_systems_errors(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"cannot read .*/a: (Too many levels|No such file)"):
        read_json(tmp_path / "a")


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "hole"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ArtifactError, match=r"has 1,099,511,627,776 bytes; expected at most 2,147,483,647"):
        read(path)
    with pytest.raises(ConfigError, match="expected at most 16,777,216"):
        read_params(path)


def test_a_file_that_grows_is_read_up_to_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1")
    stop = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"1" * 1000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sizes = [0]
        while sizes[-1] < 100_000:
            sizes.append(len(read(path, growing=True)))
    finally:
        stop.set()
        writer.join()
    assert sizes == sorted(sizes)


class TestBelowAFolder:
    def test_a_file_with_a_name_of_its_own_is_opened(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "w.bin").write_bytes(b"12")
        with opened_below(tmp_path, ("sub", "w.bin"), 2, ArtifactError) as file:
            assert file.read() == b"12"

    def test_links_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"1")
        home = tmp_path / "home"
        home.mkdir()
        (home / "soft").symlink_to(tmp_path / "secret")
        (home / "folder").symlink_to(tmp_path)
        (home / "hard").hardlink_to(tmp_path / "secret")
        for parts, message in (
            (["soft"], "through the link 'soft'"),
            (["folder", "secret"], "through the link 'folder'"),
            (["hard"], r"has a second name \(a hard link\)"),
        ):
            with pytest.raises(ArtifactError, match=message):
                opened_below(home, parts, 10, ArtifactError)

    def test_descriptors_are_closed(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(ArtifactError, match="is a folder"):
                opened_below(tmp_path, ["a"], 1, ArtifactError)
            with pytest.raises(ArtifactError, match="is a folder"):
                read(tmp_path)
            with pytest.raises(OSError, match="No such file"):
                opened_below(tmp_path, ["a", "b", "c"], 1, ArtifactError)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{" * 50_000, "9" * 5000, '{"a": NaN}', "-Infinity", "", "nul", '"\\ud8"', '{"a": 1}x'],
    ids=lambda text: text[:8],
)
def test_hostile_json_is_a_value_error_and_an_artifact_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"a\.json is corrupt") as error:
        read_json(path)
    assert len(str(error.value)) < 500


def test_json_of_400_digits_is_a_number() -> None:
    assert parse_json(json.dumps(10**399)) == 10**399


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [LAUGHS, "a: &a [*a]", "a: &a {b: *a}", "a: &a [" + "*a," * 99 + "]", "a: [" + "{}," * 400_000 + "]"],
    ids=range(5),
)
def test_aliases_that_stand_for_billions_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="holds more than 100,000 values or 50 levels, anchors included"):
        read_params(path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml holds more than 100,000 values"):
        compose(conf=tmp_path / "conf")


def test_aliases_that_stand_for_little_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\n")
    assert read_params(path) == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("text", ["seed: " + "9" * 5000, "[" * 3000, "a: \x00", "a: \xff"])
def test_hostile_parameters_are_refused_in_a_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EdgepressError, match=r"params\.yaml is (not valid YAML: .|nested more)") as error:
        read_params(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000
