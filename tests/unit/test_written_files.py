"""How a `.tflite` lies in its file: contents between the tables, aligned, or behind them."""

import io
import itertools
import tracemalloc
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepress.config.convert import Nhwc
from edgepress.convert.cutting import read_cuts
from edgepress.convert.flatbuffer import read_tflite, tflite_metrics
from edgepress.convert.nhwc import planned
from edgepress.convert.pieces import Pieces
from edgepress.convert.registry import convert_single
from edgepress.convert.writer.contents import MOST_BYTES
from edgepress.convert.writer.file import to_pieces
from edgepress.convert.writer.halves import halved
from edgepress.convert.writer.table import lowered
from edgepress.devices.program.tflite import beginning
from edgepress.errors import ArtifactError
from edgepress.graph.formats import number_format
from edgepress.measure.sizes import size_metrics
from edgepress.translate.absorbing import absorbed
from tests.compressed import quantised
from tests.networks import FORMATS, Graph, quantise, run_tflite, task

FORMS = ["float32", "fp16", "dynamic", "int8"]
TEST = task(50, seed=3).inputs()


def written(form: str, most: int = MOST_BYTES) -> bytes:
    """The small network; with 0 as the most, its constants lie outside of the FlatBuffer."""
    model = quantised(form)
    graph = lowered(absorbed(planned(model)), number_format(model), int8_io=form == "int8")
    return bytes(to_pieces(halved(graph) if form == "fp16" else graph, most))


def buffers(content: bytes) -> list[tuple[int, int]]:
    """Where in the file each buffer with content begins, and its size."""
    model, found = schema.Model.GetRootAs(content), list[tuple[int, int]]()
    for number in range(model.BuffersLength()):
        buffer = model.Buffers(number)
        if buffer.Offset() > 1:
            found.append((buffer.Offset(), buffer.Size()))
        elif buffer.DataLength():
            table = buffer._tab
            found.append((table.Vector(table.Offset(4)), buffer.DataLength()))
    return found


@pytest.mark.parametrize("most", [MOST_BYTES, 0])
@pytest.mark.parametrize("form", FORMS)
def test_each_buffer_begins_at_a_multiple_of_16_bytes_and_overlaps_with_none(form: str, most: int) -> None:
    content = written(form, most)
    found = sorted(buffers(content))
    assert len(found) >= 8
    assert {place % 16 for place, _ in found} == {0}
    assert all(place + size <= following for (place, size), (following, _) in itertools.pairwise(found))
    assert sum(found[-1]) <= len(content)


@pytest.mark.parametrize("form", FORMS)
def test_contents_outside_of_the_flatbuffer_give_the_same_network(tmp_path: Path, form: str) -> None:
    inside, outside = written(form), written(form, 0)
    expected, _ = run_tflite(inside, TEST)
    assert np.ptp(expected, axis=0).min() > 0.1
    np.testing.assert_array_equal(run_tflite(outside, TEST)[0], expected)
    paths = [tmp_path / "inside.tflite", tmp_path / "outside.tflite"]
    for path, content in zip(paths, (inside, outside), strict=True):
        path.write_bytes(content)
    assert tflite_metrics(paths[1]) == tflite_metrics(paths[0])
    for one, other in zip(*(read_tflite(path).kernels for path in paths), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    assert Interpreter(str(paths[1])).get_input_details()[0]["name"] == "input"


def test_a_file_with_contents_outside_can_be_cut(tmp_path: Path) -> None:
    path, content = tmp_path / "model.tflite", written("float32", 0)
    path.write_bytes(content)
    cuts = read_cuts(path)
    whole = beginning(content, cuts.places, cuts.steps[-1].end, cuts.steps[-1].outputs)
    np.testing.assert_array_equal(run_tflite(bytes(whole), TEST)[0], run_tflite(content, TEST)[0])


@pytest.mark.parametrize(("offset", "size"), [(2**63, 4), (4, 2**64 - 1), (10**9, 4), (8, 10**9)])
def test_contents_that_end_behind_the_file_are_refused(tmp_path: Path, offset: int, size: int) -> None:
    builder = flatbuffers.Builder()
    schema.BufferStart(builder)
    schema.BufferAddOffset(builder, offset)
    schema.BufferAddSize(builder, size)
    buffer = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 1)
    builder.PrependUOffsetTRelative(buffer)
    vector = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddBuffers(builder, vector)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(ArtifactError, match=rf"a buffer of {size} bytes at {offset} ends behind the file"):
        read_tflite(path)


def test_large_files_are_read_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(written("float32"))
    expected = tflite_metrics(path)
    monkeypatch.setattr("edgepress.convert.flatbuffer._MAPPED_BYTES", 0)
    monkeypatch.setattr("edgepress.convert.flatbuffer.read_bytes", None)
    assert tflite_metrics(path) == expected
    monkeypatch.setattr("edgepress.convert.cutting._MOST_BYTES", 1000)
    with pytest.raises(ArtifactError, match=r"cannot be timed one by one.*Profile a smaller network"):
        read_cuts(path)


def test_pieces_are_the_elements_in_their_logical_order() -> None:
    numbers = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    arrays = [numbers.transpose(2, 0, 1), np.float32(1.5).reshape(()), numbers[:, ::2], np.zeros((0, 3))]
    pieces = Pieces([b"head", *arrays])
    expected = b"head" + b"".join(array.tobytes() for array in arrays)
    assert bytes(pieces) == expected
    assert pieces.size == len(expected)


def test_a_large_array_in_another_order_is_never_copied_whole() -> None:
    array = np.arange(2**23, dtype=np.float32).reshape(2**11, 2**12).T  # 32 MiB
    tracemalloc.start()
    with io.FileIO("/dev/null", "w") as nowhere:
        Pieces([array]).write(nowhere)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20


def test_sizes_are_those_of_the_gzip_module(tmp_path: Path) -> None:
    import gzip

    chance = np.random.default_rng(0)
    for length in (0, 1, 2**20, 3 * 2**20 + 7):
        content = chance.integers(0, 9, length, np.uint8).tobytes()
        (tmp_path / "file").write_bytes(content)
        packed = len(gzip.compress(content, 9, mtime=0))
        assert size_metrics(tmp_path / "file") == {"size_bytes": length, "size_gzip_bytes": packed}


def separable(blocks: int = 4, filters: int = 64) -> onnx.ModelProto:
    """About as many parameters, 20,000, and layers as DS-CNN of MLPerf Tiny has."""
    graph = Graph(2, 8, 8)
    graph.add("Relu", graph.add("Conv", "input", graph.weights(filters, 2, 3, 3), graph.weights(filters)))
    for _ in range(blocks):
        options = {"group": filters, "pads": [1, 1, 1, 1]}
        for shape, given in (((filters, 1, 3, 3), options), ((filters, filters, 1, 1), {})):
            graph.add("Conv", graph.last, graph.weights(*shape), graph.weights(filters), **given)
            graph.add("Relu")
    graph.add("Flatten", graph.add("GlobalAveragePool"))
    graph.add("Gemm", graph.last, graph.weights(filters, 5), graph.weights(5))
    return graph.model()


def test_equal_vectors_and_names_are_stored_once_which_is_a_fifth_of_a_small_network(tmp_path: Path) -> None:
    content = bytes(convert_single(quantise(separable(), FORMATS["int8"]), Nhwc("auto"), np.zeros(0)))
    (tmp_path / "model.tflite").write_bytes(content)
    assert 19_000 < tflite_metrics(tmp_path / "model.tflite")["parameters"] < 23_000
    builder = flatbuffers.Builder(0)
    builder.Finish(schema.ModelT.InitFromPackedBuf(content).Pack(builder), b"TFL3")
    assert len(content) < 0.79 * len(builder.Output())
