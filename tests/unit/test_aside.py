"""Large weights beside a model in memory: the plan is the same, and no copy of the model copies them."""

import random
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress.convert.nhwc import planned
from edgepress.errors import EdgepressError, UnsupportedModelError
from edgepress.graph.aside import is_aside, values_of, weights_aside
from edgepress.graph.normalise.files import read_onnx
from edgepress.graph.normalise.lightening import lightened
from edgepress.graph.normalise.normalise import load_normalised
from tests.repo.closure import ROOT

WIDTH = 96
"""One kernel then has more than 2²⁰ bytes: it is mapped, not read."""


def network() -> onnx.ModelProto:
    """Convolutions with and without BatchNormalization, a large operand of an addition, and a dense layer."""
    chance = np.random.default_rng(0)
    constants = {
        "stem": chance.normal(size=(WIDTH, 3, 3, 3)),
        "kernel": chance.normal(size=(4 * WIDTH, WIDTH, 3, 3)),
        **{f"bn{i}": chance.uniform(0.5, 1.5, 4 * WIDTH) for i in range(4)},
        "plane": chance.normal(size=(1, 4 * WIDTH, 2, 2)),
        "matrix": chance.normal(size=(4 * WIDTH, 10)),
        "double": np.full((2000,), 0.5),
    }
    tensors = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()]
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "stem"], ["a"], "first", strides=[4, 4], pads=[1, 1, 1, 1]),
        node("Conv", ["a", "kernel"], ["b"], "second", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["b", "bn0", "bn1", "bn2", "bn3"], ["c"], "norm"),
        node("Add", ["c", "plane"], ["d"], "add"),
        node("GlobalAveragePool", ["d"], ["e"], "mean"),
        node("Flatten", ["e"], ["f"], "flat"),
        node("MatMul", ["f", "matrix"], ["y"], "dense"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 8, 8]), ("y", [1, 10]))
    ]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FORMS = ("one file", "external data", "as numbers")


def saved(form: str, folder: Path) -> Path:
    """The network as a file, in a form that exporters write."""
    model, target = network(), folder / "model.onnx"
    if form == "as numbers":
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.FLOAT, values.shape, values.ravel()))
    external = form == "external data"
    onnx.save(model, target, save_as_external_data=external, location="weights" if external else None)
    return target


def plain(value: Any) -> Any:
    """The same with arrays as types, shapes and bytes, which can be compared."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("form", FORMS)
def test_the_plan_is_the_same(form: str, tmp_path: Path) -> None:
    path = saved(form, tmp_path)
    expected = planned(load_normalised(path))
    with weights_aside():
        model = load_normalised(path)
        lying_aside = {tensor.name for tensor in model.graph.initializer if is_aside(tensor)}
        assert plain(planned(model)) == plain(expected)
    assert lying_aside == (set() if form == "as numbers" else {"stem", "kernel", "plane", "matrix"})
    kernels = [step.weights["kernel"].values for step in expected.steps if "kernel" in step.weights]
    assert sum(kernel.size > 1000 for kernel in kernels) == 3


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_that_lies_aside_is_not_copied(form: str, tmp_path: Path) -> None:
    path = saved(form, tmp_path)
    with weights_aside():
        tensors = {tensor.name: tensor for tensor in read_onnx(path).graph.initializer}
        same = np.shares_memory(values_of(tensors["kernel"]), values_of(tensors["kernel"]))
        assert same == (form != "as numbers")
        assert not is_aside(tensors["bn0"])


@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_a_file_cannot_name_what_lies_aside(place: str, tmp_path: Path) -> None:
    model = network()
    stranger = TensorProto(name="stem", data_type=TensorProto.FLOAT, dims=[4 * WIDTH, WIDTH, 3, 3])
    stranger.data_location = TensorProto.EXTERNAL
    stranger.external_data.add(key="location", value="edgepress-memory:0")
    if place == "initializer":
        model.graph.initializer[0].CopyFrom(stranger)
    else:
        del model.graph.initializer[0]
        model.graph.node.insert(0, helper.make_node("Constant", [], ["stem"], value=stranger))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with (
        weights_aside(),
        pytest.raises(UnsupportedModelError, match=r"is not there|external data where none"),
    ):
        load_normalised(tmp_path / "model.onnx")


def test_a_file_without_its_large_weights_is_the_same_with_them_put_back() -> None:
    content = network().SerializeToString()
    light, heavy = lightened(content)
    assert len(light) < 10_000 < sum(map(len, heavy.values()))
    model = onnx.ModelProto.FromString(light)
    for place, raw in heavy.items():
        model.graph.initializer[place].raw_data = bytes(raw)
    assert model.SerializeToString(deterministic=True) == content


def test_damaged_files_are_refused_as_without_it(tmp_path: Path) -> None:
    chance, content, path = random.Random(0), network().SerializeToString(), tmp_path / "model.onnx"
    told = []
    for _ in range(150):
        damaged = bytearray(content)
        place = chance.choice(
            [chance.randrange(600), -chance.randrange(1, 100), chance.randrange(len(content))]
        )
        damaged[place] = chance.choice([chance.randrange(256), damaged[place] ^ 1, damaged[place] + 8 & 255])
        path.write_bytes(damaged[: chance.choice([len(content)] * 9 + [chance.randrange(len(content))])])
        told.append([_told(path), _told_aside(path)])
    assert all(one == other for one, other in told)
    assert len({one for one, _ in told}) > 15


def _told(path: Path) -> str:
    try:
        return str(len(load_normalised(path).graph.node))
    except EdgepressError as error:
        return str(error)


def _told_aside(path: Path) -> str:
    with weights_aside():
        return _told(path)


MEASURED = """
import gc
import sys
from pathlib import Path
import numpy as np
from edgepress.convert.nhwc import convert, planned
from edgepress.graph.aside import weights_aside
from edgepress.graph.normalise.normalise import load_normalised

def most():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

small, large = (Path(name) for name in sys.argv[1:])
def converted(path):
    convert(load_normalised(path), False, np.zeros(0, np.float32)).save(path.with_suffix(".tflite"))

gc.disable()  # what is in a cycle would stay until it happens to run
with weights_aside():
    converted(small)
before = most()
with weights_aside():
    model = load_normalised(large)
    total = sum(weight.values.sum() for step in planned(model).steps for weight in step.weights.values())
    print((most() - before) * 1024)
    del model, total
with weights_aside():
    converted(large)
    print((most() - before) * 1024)
"""


@pytest.mark.parametrize(("external", "normalised"), [(False, False), (True, False), (False, True)])
def test_weights_are_in_memory_once_and_what_was_made_of_them_once(
    external: bool, normalised: bool, tmp_path: Path
) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    onnx.save(network(), small)
    model = network()
    wide = np.ones((4 * WIDTH, 65536), np.float32)
    model.graph.initializer[7].CopyFrom(numpy_helper.from_array(wide, "matrix"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = wide.shape[1]
    if normalised:  # then the kernel is another than the file's
        statistics = [numpy_helper.from_array(wide[0] * 2, name) for name in ("n0", "n1", "n2", "n3")]
        model.graph.initializer.extend(statistics)
        model.graph.node[6].op_type, model.graph.node[6].output[0] = "Gemm", "z"
        model.graph.node.append(
            helper.make_node("BatchNormalization", ["z", "n0", "n1", "n2", "n3"], ["y"], "last")
        )
    onnx.save(model, large, save_as_external_data=external, location="weights" if external else None)
    command = [sys.executable, "-c", MEASURED, small, large]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    to_plan, to_convert = (int(line) / wide.nbytes for line in done.stdout.splitlines())
    assert 0.9 < to_plan < 1.2 + normalised
    assert to_plan - 0.01 < to_convert < 1.3 + normalised
