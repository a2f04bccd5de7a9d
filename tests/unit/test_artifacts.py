"""Files appear whole or not at all."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.artifacts import (
    atomic,
    broken,
    metrics_path,
    model_path,
    read_bytes,
    read_json,
    run_stage,
    write_bytes,
    write_json,
)
from edgepress.errors import ArtifactError, ConfigError

ROOT = Path(__file__).parents[2]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_paths_are_named_after_the_stage() -> None:
    assert model_path("prune").as_posix() == "models/prune/model.onnx"
    assert (
        model_path("convert-tflite", "baseline.tflite").as_posix() == "models/convert-tflite/baseline.tflite"
    )
    assert metrics_path("prune").as_posix() == "metrics/prune.json"


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["file"]


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
    script = f"""
import resource
from pathlib import Path
from edgepress.artifacts import run_stage, write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
run_stage(lambda: write_bytes(Path({str(path)!r}), bytes(5000)))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    message = f"error: cannot write {path}: File too large; free some space and run again\n"
    assert (result.returncode, result.stderr) == (1, message)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(ArtifactError, match=r"^cannot write .*file: Is a directory; check the folder"):
        write_bytes(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"^cannot write .*models/file: File exists; check the folder"):
        write_bytes(tmp_path / "models" / "file", b"content")


def test_an_absent_file_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"^cannot read .*absent: No such file .*; make it with: dvc repro$"
    ):
        read_bytes(tmp_path / "absent")


@given(st.dictionaries(st.text(), json_values))
def test_json_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("json") / "values.json"
    write_json(path, values)
    assert read_json(path) == values
    assert list(read_json(path)) == list(values)


def test_json_is_written_to_be_read_by_people(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {"b": 0.5, "a": [1]})
    assert (tmp_path / "m.json").read_text() == '{\n  "b": 0.5,\n  "a": [\n    1\n  ]\n}\n'


def test_a_number_that_json_does_not_know_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "m.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


BROKEN = {b'{"a": 1': "Expecting", b"\xff\xfe": "", b"": "Expecting value", b"[1, 2]": "list"}


@pytest.mark.parametrize("content", BROKEN)
def test_broken_json_is_named_with_its_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(
        ArtifactError, match=r"^.*m\.json is corrupt or not a JSON (file|object) \(.+\); delete it"
    ):
        read_json(path)


def test_the_reason_for_a_broken_file_is_one_short_line() -> None:
    message = str(broken(Path("model.onnx"), "an ONNX model", "first\n  second " + "x" * 1000))
    assert message.startswith("model.onnx is corrupt or not an ONNX model (first second xxx")
    assert message.endswith("x); delete it and run: dvc repro")
    assert len(message) < 300


def test_a_users_mistake_ends_a_stage_with_one_line() -> None:
    def main() -> None:
        raise ConfigError("prune.sparsity is 1.5")

    with pytest.raises(SystemExit, match=r"^error: prune\.sparsity is 1\.5$"):
        run_stage(main)


def test_a_programming_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_stage(lambda: print(1 / 0))


def test_metrics_are_strict_json(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {"accuracy": 1.0})
    assert json.loads((tmp_path / "m.json").read_bytes()) == {"accuracy": 1.0}


def test_a_disk_that_fills_up_inside_a_library_ends_a_stage_with_one_line() -> None:
    def main() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        SystemExit, match=r"^error: cannot write temporary files in .+: No space left on device; free"
    ):
        run_stage(main)


def test_other_errors_of_the_system_are_not_hidden() -> None:
    def main() -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        run_stage(main)
