"""ONNX models and `.tflite` files that explain themselves: what they say, how long it is, who can read it."""

import json
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgepress.cli import main
from edgepress.config.convert import Nhwc
from edgepress.convert.flatbuffer import read_tflite
from edgepress.convert.registry import convert_single
from edgepress.convert.writer.metadata import ENTRY, zipped_labels
from edgepress.graph.about import classifier, pass_on, said, say, values
from edgepress.inspection.inspect import describe
from edgepress.inspection.tflite_metadata import said_by_tflite
from edgepress.standalone.convert import convert
from edgepress.standalone.request import Request
from tests.networks import Graph, run_tflite

LABELS = ["null", "eins", "zwei\nzeilen"]
MADE_BY = {
    "data": {"name": "digits", "samples": {"train": 9}, "licence": "CC0"},
    "model": {"name": "resnet8", "source": "edgepress/architectures/resnet8.py", "width": 16},
    "train": {"epochs": 15, "augment": {"shift": 2}},
    "seed": 0,
}


def network(channels: int = 1) -> onnx.ModelProto:
    graph = Graph(channels, 8, 8)
    graph.add("Relu", graph.add("Conv", "input", graph.weights(4, channels, 3, 3)))
    graph.add("Flatten", graph.add("GlobalAveragePool"))
    graph.add("Gemm", graph.last, graph.weights(4, 3), name="logits")
    return graph.model()


def entries(data: str = "digits", channels: int = 1) -> dict[str, str]:
    scaling = ([7.0] * channels, [2.5] * channels)
    return classifier(data, LABELS, (0.0, 255.0), scaling, MADE_BY)


def explained(channels: int = 1, **others: str) -> tuple[onnx.ModelProto, bytes]:
    model = network(channels)
    say(model, {**entries(channels=channels), **others})
    return model, bytes(convert_single(model, Nhwc("auto"), np.zeros(0)))


def metadata(content: bytes, folder: Path) -> dict[str, bytes]:
    (folder / "model.tflite").write_bytes(content)
    return dict(read_tflite(folder / "model.tflite").metadata)


def test_an_onnx_model_says_what_it_is_and_what_made_it() -> None:
    model, _ = explained()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert told["name"] == "digits resnet8"
    assert json.loads(told["labels"]) == LABELS
    assert json.loads(told["input"]) == {"range": [0, 255], "mean": [7], "std": [2.5], "color": "grayscale"}
    assert json.loads(told["made_by"])["model"] == {"name": "resnet8", "source": "resnet8.py", "width": 16}
    assert len(told["version"]) == 12


def test_stages_pass_on_what_is_said_and_add_their_own_parameters() -> None:
    source, made, again, other = network(), network(), network(), network()
    say(source, entries())
    for model, sparsity in ((made, 0.5), (again, 0.5), (other, 0.8)):
        pass_on(model, source, "prune", {"name": "magnitude", "sparsity": sparsity})
    assert said(made)["labels"] == said(source)["labels"]
    assert values(said(made), "made_by")["prune"] == {"name": "magnitude", "sparsity": 0.5}
    assert made.SerializeToString() == again.SerializeToString()
    versions = [said(model)["version"] for model in (source, made, other)]
    assert len(set(versions)) == 3


def test_a_tflite_says_the_same_in_the_form_of_tflites_metadata(tmp_path: Path) -> None:
    model, content = explained()
    told = said_by_tflite(metadata(content, tmp_path))
    assert told == {
        "name": "digits resnet8",
        "version": said(model)["version"],
        "description": "width=16; train epochs=15; seed=0",
        "input input": "raw values; the network scales them: mean 7, std 2.5",
        "output logits_out": "logits; softmax makes probabilities; labels in labels.txt",
    }


def test_an_application_is_told_not_to_normalise_and_what_colours_are(tmp_path: Path) -> None:
    """By the slots of metadata_schema.fbs: process_units is 4 of TensorMetadata, content 3, stats 5."""
    from flatbuffers.table import Table

    for channels, colour in ((1, 2), (3, 1)):
        _, content = explained(channels)
        raw = metadata(content, tmp_path)[ENTRY]

        def at(table: Table, slot: int) -> Table:
            return Table(raw, table.Indirect(table.Pos + table.Offset(4 + 2 * slot)))  # noqa: B023

        def first(table: Table, slot: int) -> Table:
            return Table(raw, table.Indirect(table.Vector(table.Offset(4 + 2 * slot))))  # noqa: B023

        def number(table: Table, slot: int) -> float:
            place = table.Vector(table.Offset(4 + 2 * slot))
            return float(struct.unpack_from("<f", raw, place)[0])  # noqa: B023

        def byte(table: Table, slot: int) -> int:
            return int(raw[table.Pos + table.Offset(4 + 2 * slot)])  # noqa: B023

        root = Table(raw, struct.unpack_from("<I", raw)[0])
        entry = first(first(root, 3), 2)
        unit, stats, kind = first(entry, 4), at(entry, 5), at(entry, 3)
        assert (byte(unit, 0), number(at(unit, 1), 0), number(at(unit, 1), 1)) == (1, 0, 1)
        assert (number(stats, 0), number(stats, 1)) == (255, 0)
        assert (byte(kind, 0), byte(at(kind, 1), 0)) == (2, colour)


def test_labels_are_in_a_zip_behind_the_model_that_standard_tools_read(tmp_path: Path) -> None:
    _, content = explained()
    (tmp_path / "model.tflite").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:
        (info,) = archive.infolist()
        assert (info.filename, info.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(info).decode() == "null\neins\nzwei zeilen\n"
    place = content.index(b"PK\1\2")
    assert struct.unpack_from("<I", content, place + 42)[0] == content.index(b"PK\3\4")
    assert struct.unpack_from("<I", content, content.index(b"PK\5\6") + 16)[0] == place
    assert zipped_labels(LABELS, 10**10)[:4] == b"PK\3\4"


def test_metadata_changes_nothing_that_is_computed_and_takes_few_bytes() -> None:
    model, content = explained()
    bare = bytes(convert_single(model, Nhwc("auto", metadata=False), np.zeros(0)))
    inputs = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    expected = run_tflite(bare, inputs)[0]
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(run_tflite(content, inputs)[0], expected)
    assert 0 < len(content) - len(bare) < 900
    assert content == explained()[1]


@pytest.mark.parametrize(
    "others",
    [
        {"labels": "[1, 2"},
        {"labels": "{}"},
        {"input": "[]"},
        {"input": '{"range": ["a", 1], "mean": 3, "std": [null]}'},
        {"input": '{"range": [1]}', "made_by": "[[[["},
        {"name": "ü\n\x1b[2J", "author": "someone", "license": "MIT"},
        {"made_by": '{"a": null, "b": [1], "c": {"name": 1, "d": 1e400}}'},
    ],
)
def test_entries_of_others_in_any_form_are_taken(tmp_path: Path, others: dict[str, str]) -> None:
    model, content = explained(**others)
    assert Interpreter(model_content=content).get_input_details()[0]["name"] == "input"
    (tmp_path / "model.tflite").write_bytes(content)
    onnx.save(model, tmp_path / "model.onnx")
    for name in ("model.tflite", "model.onnx"):
        assert all(line.isprintable() for line in describe(tmp_path / name, False).splitlines())
    assert said_by_tflite({ENTRY: content[:100]}) == {}


def test_a_network_without_classes_or_scaling_says_less(tmp_path: Path) -> None:
    model = network()
    say(model, classifier("inputs", [], (0.0, 1.0), ([], []), {"model": {"name": "onnx"}}))
    assert said(model).keys() == {"name", "version", "input", "made_by"}
    content = bytes(convert_single(model, Nhwc("auto"), np.zeros(0)))
    assert "output logits_out" not in said_by_tflite(metadata(content, tmp_path))
    assert b"PK\3\4" not in content


def test_a_single_converted_file_says_where_it_comes_from(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "net.onnx")
    source, target = tmp_path / "net.onnx", tmp_path / "net.tflite"
    convert(Request(source, target, keep_shape=True), lambda _: None)
    told = json.loads(describe(target, as_json=True))["about"]
    digest = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout[:16]
    assert told["name"] == "net"
    assert told["description"] == f"convert=net.onnx (sha256 {digest}) --keep-shape"
    first = target.read_bytes()
    convert(Request(source, target, keep_shape=True), lambda _: None)
    assert target.read_bytes() == first
    assert main(["-q", "convert", str(source), "-o", str(target), "--no-metadata"]) == 0
    assert "about" in json.loads(describe(target, as_json=True))
    assert json.loads(describe(target, as_json=True))["about"] == {}


def test_inspect_finds_the_commit_whose_lock_file_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    onnx.save(network(), tmp_path / "net.onnx")
    hashed = subprocess.run(["md5sum", "net.onnx"], capture_output=True, text=True, check=True).stdout
    for number, text in enumerate(("md5: 0", f"md5: {hashed.split()[0]}", "md5: 1")):
        (tmp_path / "dvc.lock").write_text(text)
        git("add", "dvc.lock")
        git("commit", "-qm", f"run {number}")
    assert main(["inspect", "net.onnx"]) == 0
    assert ": run 1\n" in capsys.readouterr().out
    with (tmp_path / "net.onnx").open("ab") as file:
        file.write(b"\x72\x00")
    assert main(["inspect", "net.onnx"]) == 0
    assert "commit" not in capsys.readouterr().out
