"""Beginnings of a `.tflite`: they are models, and give what the whole makes on the way."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgepress.convert.cutting import read_cuts
from edgepress.convert.flatbuffer import read_tflite
from edgepress.devices.program.tflite import beginning
from edgepress.errors import ArtifactError

WHOLE = ("float", "int8", "int8_float_io", "float16", "nchw", "transpose_conv", "padded")


def run(content: bytes, image: np.ndarray, keep: bool = False) -> Interpreter:
    """An interpreter that has run without XNNPACK, whose kernels keep what is between them."""
    interpreter = Interpreter(
        model_content=bytes(content),
        experimental_preserve_all_tensors=keep,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    fitting = np.resize(image, source["shape"]).astype(source["dtype"])
    interpreter.set_tensor(source["index"], fitting)
    interpreter.invoke()
    return interpreter


@pytest.mark.parametrize("name", WHOLE)
def test_each_beginning_makes_what_the_whole_makes_on_the_way(small_models: Path, name: str) -> None:
    path = small_models / f"{name}.tflite"
    content, cuts = path.read_bytes(), read_cuts(path)
    image = np.load(small_models / "images.npy")[0]
    whole = run(content, image, keep=True)
    for step in cuts.steps:
        cut = run(beginning(content, cuts.places, step.end, step.outputs), image)
        assert [each["index"] for each in cut.get_output_details()] == step.outputs
        assert len(cut._get_ops_details()) == step.end
        for index in step.outputs:
            np.testing.assert_array_equal(cut.get_tensor(index), whole.get_tensor(index))


@pytest.mark.parametrize("name", WHOLE)
def test_the_last_beginning_is_the_whole(small_models: Path, name: str) -> None:
    path = small_models / f"{name}.tflite"
    graph, cuts = read_tflite(path).graphs[0], read_cuts(path)
    assert cuts.steps[-1].end == len(graph.operators)
    assert cuts.steps[-1].outputs == graph.outputs
    named = [name for step in cuts.steps for name in step.operator.split(" + ") if not name.startswith("(")]
    once = [op for op in graph.operators if op.name == "DEQUANTIZE" and graph.tensors[op.inputs[0]].constant]
    computed = [operator.name for operator in graph.operators if operator not in once]
    assert named == computed


def test_what_is_made_of_constants_counts_with_its_first_reader(small_models: Path) -> None:
    steps = read_cuts(small_models / "float16.tflite").steps
    assert steps[0].operator.startswith("(")
    assert "DEQUANTIZE) + CONV_2D" in steps[0].operator
    assert all("DEQUANTIZE" not in step.operator for step in steps[1:])


def test_padding_counts_with_the_convolution_behind_it(small_models: Path) -> None:
    steps = read_cuts(small_models / "padded.tflite").steps
    assert [step.operator for step in steps] == ["PAD + CONV_2D", "PAD", "ADD"]


def test_what_is_needed_behind_a_cut_is_kept(small_models: Path) -> None:
    first, second, last = read_cuts(small_models / "padded.tflite").steps
    assert (len(first.outputs), len(second.outputs), len(last.outputs)) == (1, 2, 1)
    assert first.outputs[0] in second.outputs


def test_a_beginning_without_operators_gives_its_input(small_models: Path) -> None:
    path = small_models / "float.tflite"
    cuts, image = read_cuts(path), np.load(small_models / "images.npy")[0]
    cut = run(beginning(path.read_bytes(), cuts.places, 0, cuts.inputs), image)
    np.testing.assert_array_equal(cut.get_tensor(cuts.inputs[0]), np.resize(image, (1, 8, 6, 3)))


def test_signatures_end_with_what_they_name(small_models: Path) -> None:
    path = small_models / "padded.tflite"
    content, cuts = path.read_bytes(), read_cuts(path)
    assert Interpreter(model_content=content).get_signature_list()
    cut = beginning(content, cuts.places, cuts.steps[0].end, cuts.steps[0].outputs)
    assert Interpreter(model_content=bytes(cut)).get_signature_list() == {}


def test_a_model_that_computes_nothing_cannot_be_cut(small_models: Path, tmp_path: Path) -> None:
    path = small_models / "float.tflite"
    cuts, idle = read_cuts(path), tmp_path / "idle.tflite"
    idle.write_bytes(beginning(path.read_bytes(), cuts.places, 0, cuts.inputs))
    with pytest.raises(ArtifactError, match=r"idle\.tflite computes nothing, so there is nothing to cut"):
        read_cuts(idle)


def test_a_damaged_file_is_refused(small_models: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.tflite"
    half.write_bytes((small_models / "float.tflite").read_bytes()[:2000])
    with pytest.raises(ArtifactError, match="corrupt or not a TFLite model"):
        read_cuts(half)
