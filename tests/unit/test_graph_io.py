"""Reading and writing ONNX files: sound ones whole, damaged ones refused in one line."""

import random

import onnx
import pytest

from edgepress.errors import ArtifactError
from edgepress.graph.io import load_model, save_model
from tests.networks import network


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    save_model(path, network())
    return path.read_bytes()


def test_what_was_saved_is_loaded(tmp_path):
    model = network()
    save_model(tmp_path / "model.onnx", model)
    assert load_model(tmp_path / "model.onnx") == model


def test_the_same_model_gives_the_same_bytes(tmp_path, content):
    model = onnx.load_model_from_string(content)
    save_model(tmp_path / "again.onnx", onnx.ModelProto.FromString(model.SerializeToString()))
    assert (tmp_path / "again.onnx").read_bytes() == content


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"cannot read .*absent\.onnx: No such file.*dvc repro"):
        load_model(tmp_path / "absent.onnx")


def test_a_folder_is_not_a_model(tmp_path):
    with pytest.raises(ArtifactError, match=r"is a folder; expected a regular file"):
        load_model(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, content, share):
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError) as refused:
        load_model(path)
    message = str(refused.value)
    assert "\n" not in message
    assert f"{path} is corrupt or not an ONNX model" in message
    assert "delete it and run: dvc repro" in message


@pytest.mark.parametrize("junk", [b"\0" * 500, b"not a model at all", b"\x93NUMPY\x01\x00", b"\xff" * 100])
def test_other_files_are_refused(tmp_path, junk):
    path = tmp_path / "model.onnx"
    path.write_bytes(junk)
    with pytest.raises(ArtifactError, match=r"model\.onnx is corrupt or not an ONNX model"):
        load_model(path)


def test_flipped_bytes_are_refused_or_harmless(tmp_path, content):
    """Whatever a damaged file is, it gives a model or an ArtifactError, never another exception."""
    chance, path, refused = random.Random(0), tmp_path / "model.onnx", 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            load_model(path)
        except ArtifactError:
            refused += 1
    assert 10 < refused < 200


def test_invalid_models_are_neither_read_nor_written(tmp_path):
    model = network()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(onnx.checker.ValidationError):
        save_model(tmp_path / "model.onnx", model)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"nowhere"):
        load_model(tmp_path / "model.onnx")
