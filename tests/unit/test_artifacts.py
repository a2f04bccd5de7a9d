"""Files appear whole or not at all."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.artifacts import (
    broken,
    metrics_path,
    model_path,
    read_bytes,
    read_json,
    write_json,
)
from edgepress.errors import ArtifactError

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


def test_metrics_are_strict_json(tmp_path: Path) -> None:
    write_json(tmp_path / "m.json", {"accuracy": 1.0})
    assert json.loads((tmp_path / "m.json").read_bytes()) == {"accuracy": 1.0}
