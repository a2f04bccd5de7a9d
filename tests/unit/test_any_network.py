"""Networks with any inputs and outputs: their data, what stages make of them, how devices run them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.convert import Nhwc
from edgepress.config.data import Inputs, Npz, Splits
from edgepress.config.model import Onnx
from edgepress.config.quant import Calibration, Dynamic, Fp16, Int8, Int8Weights, Int16x8, QuantConfig
from edgepress.convert.registry import convert_pair, pipeline_orders
from edgepress.datasets import inputs as unlabelled
from edgepress.datasets import npz as labelled
from edgepress.datasets.identical import find_identical
from edgepress.datasets.prepared import (
    Split,
    input_files,
    load_description,
    load_split,
    save_description,
    save_split,
)
from edgepress.datasets.samples import Entry, Samples
from edgepress.datasets.splits import describe, save, split
from edgepress.devices.base import Pair
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import REFERENCE, XNNPACK, predict
from edgepress.devices.tflm import TflmDevice
from edgepress.errors import ConfigError, DataError, UnsupportedModelError
from edgepress.graph.formats import number_format
from edgepress.graph.imported.network import imported
from edgepress.measure.agreement import agreement, agreement_metrics
from edgepress.measure.inference import outputs_in_memory
from edgepress.measure.reference import keep_inputs
from edgepress.profiling.profile import profile
from edgepress.report import evaluation
from edgepress.standalone.convert import convert
from edgepress.standalone.inputs import draw_inputs, load_inputs
from edgepress.standalone.request import Request
from tests.any_networks import NETWORKS, RAW, SAMPLES, Arrays, described, parsed, taken, write

SPLITS = Splits(0.25, 0.15, 10)
CALIBRATION = Calibration("minmax", 32, 2048, 99.99)
ENTROPY = Calibration("entropy", 16, 512, 99.99)
CONVERTED = [name for name in NETWORKS if name != "control flow"]


ARRAYS = {
    "serving_default_ids:0": np.arange(60).reshape(20, 3),
    "/state": np.random.default_rng(0).normal(size=(20, 2, 1, 4)).astype(np.float32),
    "flag": np.arange(20) % 3 == 0,
    "y": np.arange(20, dtype=np.uint8),
    "half": np.random.default_rng(1).normal(size=(20, 2)).astype(np.float16),
    "double": np.random.default_rng(2).normal(size=(20, 1)),
}


class TestData:
    def test_arrays_keep_names_types_and_shapes_on_their_way(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "inputs.npz", **ARRAYS)
        dataset = unlabelled.load(Inputs(str(tmp_path / "inputs.npz"), "", "", "named", SPLITS))
        parts = split(dataset, SPLITS, 0)
        assert save(dataset, parts, tmp_path / "prepared") is None
        save_description(tmp_path / "d.json", describe("inputs", dataset, parts, None))
        description = load_description(tmp_path / "d.json")
        assert description.named and description.classes == 0
        assert description.inputs["/state"].shape == (2, 1, 4)
        assert description.inputs["serving_default_ids:0"].limits == (0, 59)
        part = load_split(tmp_path / "prepared/test")
        assert set(part.named) == set(ARRAYS) == set(input_files(tmp_path / "prepared/test"))
        for name, values in ARRAYS.items():
            np.testing.assert_allclose(part.named[name], values[parts["test"]], rtol=1e-6)
            assert part.named[name].dtype == (np.float32 if name == "double" else values.dtype)
            assert description.inputs[name].dtype == part.named[name].dtype.name

    def test_a_folder_has_a_file_for_each_input(self, tmp_path: Path) -> None:
        for name in ("flag", "double"):
            np.save(tmp_path / f"{name}.npy", ARRAYS[name])
        dataset = unlabelled.load(Inputs(str(tmp_path), "", "", "named", SPLITS))
        assert {name: rows.shape for name, rows in dataset.arrays.items()} == {
            "flag": (20,),
            "double": (20, 1),
        }

    def test_with_classes_all_but_y_and_their_names_are_inputs(self, tmp_path: Path) -> None:
        arrays = {"a": np.zeros((20, 3)), "b": np.arange(20), "y": np.arange(20) % 2}
        np.savez(tmp_path / "data.npz", **arrays, class_names=["no", "yes"])
        dataset = labelled.load(Npz(str(tmp_path / "data.npz"), "", "", "named", SPLITS))
        assert (list(dataset.arrays), dataset.class_names) == (["a", "b"], ("no", "yes"))

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": np.zeros((4, 2)), "b": np.zeros(3)}, "numbers of samples: a has 4, b has 3; expected the"),
            ({"a": np.array(["x"] * 4)}, "a in .* is of type <U1; expected numbers or truth values"),
            ({"a": np.zeros((4, 0))}, r"a in .* has shape \(4, 0\); expected samples \(N, ...\)"),
            ({"a": np.full((4, 2), np.nan)}, "a in .* is NaN or infinite, as float32, in sample 0; expected"),
            ({"a": np.float32(3)}, r"has shape \(1,\).*|samples"),
        ],
    )
    def test_what_is_no_input_is_refused(self, arrays: Arrays, message: str, tmp_path: Path) -> None:
        np.savez(tmp_path / "inputs.npz", **arrays)
        with pytest.raises(DataError, match=message):
            found = unlabelled.load(Inputs(str(tmp_path / "inputs.npz"), "", "", "named", SPLITS))
            split(found, SPLITS, 0)

    def test_samples_are_the_same_if_all_of_their_inputs_are(self) -> None:
        data = {"a": np.array([1, 1, 2, 1]), "b": np.array([[5], [6], [5], [5]])}
        dataset = unlabelled.Dataset(None, unlabelled.unknown_classes(4), (), (0.0, 0.0), "", "", named=data)
        np.testing.assert_array_equal(find_identical(dataset).groups, [0, 1, 2, 0])


class TestSamples:
    def test_the_batch_is_the_first_axis_or_before_all_axes(self) -> None:
        samples = Samples(
            {"x": np.arange(6).reshape(3, 2), "state": np.zeros((3, 2, 1, 4)), "step": np.arange(3)}
        )
        entries = [
            Entry("x", "int32", (None, 2)),
            Entry("state", "float32", (2, 1, 4)),
            Entry("step", "int64", ()),
        ]
        feeds = list(samples.feeds(entries))
        assert [each["step"].item() for each in feeds] == [0, 1, 2]
        assert {name: (one.shape, one.dtype.name) for name, one in feeds[1].items()} == {
            "x": ((1, 2), "int32"),
            "state": ((2, 1, 4), "float32"),
            "step": ((), "int64"),
        }

    def test_a_batch_that_is_built_in_is_filled_up(self) -> None:
        samples = Samples({"x": np.arange(5)})
        feeds = [each["y"].tolist() for each in samples.feeds([Entry("y", "float32", (2,))])]
        assert feeds == [[0, 1], [2, 3], [4, 0]]

    @pytest.mark.parametrize(
        ("dims", "name", "message"),
        [
            ((None, 2), "z", "has no array named z; it has: x, y"),
            ((1, 2, 3, 4), "x", "has 4 axes, but the data"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, dims: tuple[int, ...], name: str, message: str) -> None:
        samples = Samples({"x": np.zeros((5, 2)), "y": np.zeros(5)})
        with pytest.raises(DataError, match=message):
            list(samples.feeds([Entry("y", "float32", ()), Entry(name, "float32", dims)]))


class TestImported:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_computes_what_the_file_does_under_its_names(self, name: str) -> None:
        model, _ = NETWORKS[name]()
        network, samples = taken(name)
        assert [one.name for one in network.model.graph.input] == [one.name for one in model.graph.input]
        expected = outputs_in_memory(model, samples[:20], 1).outputs
        actual = outputs_in_memory(network.model, samples[:20], 1).outputs
        if not network.classifier:
            assert list(actual) == list(expected)
        for ours, theirs in zip(actual.values(), expected.values(), strict=True):
            assert theirs.std() > 0.01
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())

    def test_images_from_a_folder_go_to_a_network_with_several_outputs(self) -> None:
        model, data = NETWORKS["detection heads"]()
        network = imported(model, Onnx("n.onnx", "n.onnx", (10.0,), (2.0,)), (3, 16, 16), 7)
        assert [one.name for one in network.model.graph.input] == ["input"]
        images = data["images"][:5]
        expected = outputs_in_memory(model, Samples({"images": (images - np.float32(10)) / 2}), 1).outputs
        for name, ours in outputs_in_memory(network.model, images, 1).outputs.items():
            np.testing.assert_allclose(ours, expected[name], atol=1e-4)

    @pytest.mark.parametrize("last", [False, True])
    def test_images_go_to_a_network_of_bytes(self, last: bool) -> None:
        shape = "n, 5, 6, 3" if last else "n, 3, 5, 6"
        model = parsed(
            f"bytes (uint8[{shape}] image) => (float[{shape}] y) "
            "{ f = Cast <to = 1> (image) y = Mul (f, two) }",
            two=np.float32(2),
        )
        images = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 6)).astype(np.uint8)
        network = imported(model, RAW, (3, 5, 6), 0).model
        (found,) = outputs_in_memory(network, images, 1).outputs.values()
        doubled = 2 * images.astype(np.float32)
        np.testing.assert_array_equal(found, np.moveaxis(doubled, 1, -1) if last else doubled)

    def test_what_no_output_depends_on_takes_no_image_away(self) -> None:
        """Neither an input that nothing reads nor one that is read in vain counts."""
        model = parsed(
            "two (float[n, 2] meta, float[n, 3, 4, 5] image, int64[n] id) => (float[n, 3, 4, 5] y) "
            "{ vain = Neg (id) y = Sin (image) }"
        )
        network = imported(model, RAW, (3, 4, 5), 0)
        images = np.random.default_rng(0).normal(size=(4, 3, 4, 5)).astype(np.float32)
        found = outputs_in_memory(network.model, images, 1).outputs["y"]
        np.testing.assert_allclose(found, np.sin(images), atol=1e-6)
        assert network.inputs == ("image",)
        model.graph.node[0].output[0] = "w"
        model.graph.output.append(helper.make_tensor_value_info("w", onnx.TensorProto.INT64, ["n"]))
        with pytest.raises(UnsupportedModelError, match=r"the inputs image, id, but the data is one image"):
            imported(model, RAW, (3, 4, 5), 0)

    def test_tokens_are_no_vectors(self) -> None:
        model = parsed("ids (int64[n, 4] ids) => (float[n, 4] y) { y = Cast <to = 1> (ids) }")
        with pytest.raises(
            UnsupportedModelError, match=r"is int64, .* as it is, by its name: .*layout=named"
        ):
            imported(model, RAW, (4, 1, 1), 0)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"input_ids": np.zeros((SAMPLES, 6))},
                "is int64, but the data holds float32 from 0 to 0; expected w",
            ),
            (
                {"input_ids": np.zeros((SAMPLES, 5), int)},
                r"'input_ids' is \(batch, 6\), but a sample .* \(5,\)",
            ),
            ({"input_ids": None}, "has no array named input_ids; it has: attention_mask"),
        ],
    )
    def test_data_that_does_not_fit_is_refused_in_one_line(self, changes: Arrays, message: str) -> None:
        model, data = NETWORKS["tokens"]()
        changed = {
            name: np.asarray(values, np.float32 if values.dtype.kind == "f" else values.dtype)
            for name, values in (data | changes).items()
            if values is not None
        }
        with pytest.raises(UnsupportedModelError, match=message):
            imported(model, RAW, (), 0, described(changed).inputs)

    def test_integers_beyond_the_networks_type_are_refused(self) -> None:
        model = parsed("small (int8[n, 2] x) => (float[n, 2] y) { y = Cast <to = 1> (x) }")
        data = {"x": np.full((SAMPLES, 2), 128) + np.arange(SAMPLES)[:, None]}
        with pytest.raises(UnsupportedModelError, match="is int8, but the data holds int64 from 128 to 247"):
            imported(model, RAW, (), 0, described(data).inputs)

    def test_sizes_that_are_open_become_those_of_the_data(self) -> None:
        model = parsed(
            "open (float[n, t, 4] x, int64[n, t] mask) => (float[n, t, 4] y) "
            "{ m = Cast <to = 1> (mask) u = Unsqueeze (m, last) y = Mul (x, u) }",
            last=np.array([-1]),
        )
        data = {"x": np.zeros((SAMPLES, 7, 4), np.float32), "mask": np.ones((SAMPLES, 7), int)}
        data["x"] += np.arange(SAMPLES)[:, None, None]
        network = imported(model, RAW, (), 0, described(data).inputs).model
        sizes = [
            [d.dim_param or d.dim_value for d in e.type.tensor_type.shape.dim] for e in network.graph.input
        ]
        assert sizes == [["batch", 7, 4], ["batch", 7]]
        data["mask"] = np.ones((SAMPLES, 6), int)
        with pytest.raises(UnsupportedModelError, match=r"where .* is 7"):
            imported(model, RAW, (), 0, described(data).inputs)

    def test_a_mean_is_of_no_use_to_named_inputs(self) -> None:
        model, data = NETWORKS["two inputs"]()
        with pytest.raises(ConfigError, match=r"model\.mean and model\.std scale images and vectors"):
            imported(model, Onnx("n.onnx", "n.onnx", (1.0,)), (), 0, described(data).inputs)


def converted(
    folder: Path, name: str, quant: QuantConfig | None = None
) -> tuple[Pair, Pair, dict[str, Path]]:
    """What the stages make of a network: a pair for LiteRT, one for ONNX Runtime, and files of its inputs."""
    network, samples = taken(name)
    quantised = network.model
    if quant is not None:
        sources = Sources(lambda n: samples[:n], lambda: pytest.fail("it trains"), 0, lambda _: None)
        quantised = quantiser(quant)(network.model, quant, sources)
    config = Nhwc("auto", metadata=False)
    orders = pipeline_orders(network.model, config, images=False)
    pair = convert_pair(quantised, network.model, config, np.zeros((0, 0)), orders)
    pair.candidate.save(folder / "model.tflite")
    pair.baseline.save(folder / "baseline.tflite")
    onnx.save(quantised, folder / "model.onnx")
    onnx.save(network.model, folder / "baseline.onnx")
    save_split(folder / "test", Split(np.zeros((40, 0)), np.full(40, -1), samples[:40].arrays))
    tflite = Pair("tflite", folder / "model.tflite", folder / "baseline.tflite", orders)
    in_onnx = Pair("onnxruntime", folder / "model.onnx", folder / "baseline.onnx")
    return tflite, in_onnx, input_files(folder / "test")


@pytest.mark.parametrize("name", ["two inputs", "tokens", "a state", "detection heads"])
def test_convert_takes_and_checks_them_as_single_files(name: str, tmp_path: Path) -> None:
    path, inputs = write(name, tmp_path)
    for quant, calibration in (("none", None), ("int8", inputs)):
        request = Request(path, tmp_path / "m.tflite", quant=quant, calibration=calibration, check=True)
        check = convert(request, lambda _: None).check
        assert check is not None and check.passed
        assert check.drawn == (calibration is None)
        model = onnx.load(path)
        assert list(check.outputs) == [output.name for output in model.graph.output]
        assert all(signal.varies for signal in check.outputs.values())


def test_an_input_that_no_output_depends_on_is_not_asked_for(tmp_path: Path) -> None:
    model = parsed(
        "net (float[n, 4] x, int64[n, 2] types) => (float[n, 4] y) { vain = Neg (types) y = Sin (x) }"
    )
    onnx.save(model, tmp_path / "net.onnx")
    check = convert(Request(tmp_path / "net.onnx", tmp_path / "m.tflite", check=True), lambda _: None).check
    assert check is not None and check.passed
    keep_inputs(model, ["x"])
    data = np.ones((3, 4), np.float32)
    found = outputs_in_memory(model, Samples({"x": data}), 1).outputs["y"]
    np.testing.assert_allclose(found, np.sin(data), atol=1e-6)


STATES = {"state": np.ones((5, 2, 1, 4))}


class TestCalibrationFiles:
    ENTRIES = (Entry("ids", "int64", (None, 3)), Entry("state", "float32", (2, 1, 4)))

    def test_arrays_are_found_by_name_in_a_file_or_a_folder(self, tmp_path: Path) -> None:
        arrays = {"ids": np.arange(15).reshape(5, 3), "state": np.ones((5, 2, 1, 4)), "other": np.zeros(7)}
        np.savez(tmp_path / "inputs.npz", **arrays)
        (tmp_path / "folder").mkdir()
        for name, values in arrays.items():
            np.save(tmp_path / "folder" / f"{name}.npy", values)
        for path in (tmp_path / "inputs.npz", tmp_path / "folder"):
            found = load_inputs(path, self.ENTRIES, 4)
            assert len(found) == 4
            assert {name: (one.dtype.name, one.shape) for name, one in found.arrays.items()} == {
                "ids": ("int64", (4, 3)),
                "state": ("float32", (4, 2, 1, 4)),
            }

    def test_what_a_network_takes_at_once_is_one_sample(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "inputs.npz", ids=np.zeros((1, 3), int), state=np.ones((2, 1, 4)))
        found = load_inputs(tmp_path / "inputs.npz", self.ENTRIES, 9)
        assert (len(found), found.arrays["state"].shape) == (1, (1, 2, 1, 4))

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"ids": np.zeros((5, 3), int)}, "holds the arrays: ids; expected .*: state is not there"),
            (
                {"ids": np.zeros((5, 3)), "state": np.ones((5, 2, 1, 4))},
                "float64 .*; expected integers .* 'ids'",
            ),
            (
                {"ids": np.zeros((5, 3), int), "state": np.ones((4, 2, 1, 4))},
                "ids has 5, state has 4; expected",
            ),
            (
                {"ids": np.zeros((5, 4), int), "state": np.ones((5, 2, 1, 4))},
                r"\(5, 4\); expected integers \(n, 3",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused(self, arrays: Arrays, message: str, tmp_path: Path) -> None:
        np.savez(tmp_path / "inputs.npz", **arrays)
        with pytest.raises(DataError, match=message):
            load_inputs(tmp_path / "inputs.npz", self.ENTRIES, 9)


def test_inputs_are_drawn_by_their_types() -> None:
    model = parsed(
        """drawn (int64[n, 4] ids, bool[n, 3] keep, uint8[n, 2] bytes, int32[n] attention_mask, float[n, 2] x,
        float[n, 5] state) => (float[n, 4, 2] y, float[n, 5] next) {
        i = Cast <to = 6> (ids)
        y = Gather (table, i)
        k = Cast <to = 1> (keep)
        b = Cast <to = 1> (bytes)
        m = Cast <to = 1> (attention_mask)
        s = ReduceSum (k)
        t = ReduceSum (b)
        u = ReduceSum (m)
        v = ReduceSum (x)
        w = Sum (s, t, u, v)
        next = Add (state, w)
    }""",
        table=np.zeros((11, 2)),
    )
    drawn, told = draw_inputs(model, 200)
    found = drawn.arrays
    assert told == "drawn at random, each by its type"
    assert set(found["ids"].ravel()) == set(range(11))
    assert found["keep"].dtype == bool and 0.6 < found["keep"].mean() < 0.95 and found["keep"].any(1).all()
    assert found["bytes"].dtype == np.uint8 and np.ptp(found["bytes"]) > 200
    assert set(found["attention_mask"]) == {0, 1}
    assert found["x"].min() >= 0 and 0 < found["state"].std() < 0.2 and found["state"].min() < 0


@pytest.mark.parametrize(
    ("name", "quant", "least_db"),
    [
        ("two inputs", None, 100),
        ("two inputs", Int8(True, CALIBRATION), 25),
        ("two inputs", Dynamic(), 25),
        ("two inputs", Fp16(), 50),
        ("tokens", None, 100),
        ("tokens", Int8(True, CALIBRATION), 20),
        ("tokens", Dynamic(), 20),
        ("a state", None, 100),
        ("a state", Int8(True, CALIBRATION), 20),
        ("a state", Int16x8(CALIBRATION), 40),
        ("a fixed batch", Int8(True, CALIBRATION), 20),
        ("every type", None, 100),
        ("every type", Int8(True, CALIBRATION), 20),
        ("detection heads", Int8(True, CALIBRATION), 25),
    ],
)
def test_devices_run_them_and_agreement_is_told_by_output(
    name: str, quant: QuantConfig | None, least_db: float, tmp_path: Path
) -> None:
    tflite, in_onnx, files = converted(tmp_path, name, quant)
    device = LinuxDevice(LocalHost(), REFERENCE, None)
    measured = {pair.runtime: device.measure(pair, files) for pair in (tflite, in_onnx)}
    for measurement in measured.values():
        evaluation.check_outputs(measurement, 0)
    report = evaluation.accuracy_report(measured, np.full(40, -1))
    json.dumps(report, allow_nan=False)
    assert report["samples"] == 40
    for runtime in ("tflite", "onnxruntime"):
        found = report[runtime]["baseline_agreement"]
        assert found["min_snr_db"] > least_db
        outputs = measured[runtime].baseline.values
        assert set(found["outputs"]) == set(outputs)
        assert all(values.std() > 0.01 for values in outputs.values())
    both = [measured[runtime].candidate.values for runtime in ("tflite", "onnxruntime")]
    assert agreement_metrics(agreement(*both, samples=40))["min_snr_db"] > least_db
    floats = {*both[1]} == {*measured["onnxruntime"].baseline.values}
    assert floats


@pytest.mark.parametrize("quant", [Fp16(), Int8(True, ENTROPY), Int16x8(CALIBRATION), Int8Weights()])
def test_each_number_format_stays_near_the_floats(quant: QuantConfig) -> None:
    for name in NETWORKS:
        if name == "control flow" and isinstance(quant, Int8Weights | Int16x8):  # its kernels are in branches
            continue
        network, samples = taken(name)
        sources = Sources(lambda n, given=samples: given[:n], pytest.fail, 0, lambda _: None)
        quantised = quantiser(quant)(network.model, quant, sources)
        assert number_format(quantised) != "float32"
        found, known = (outputs_in_memory(each, samples[:9], 1) for each in (quantised, network.model))
        assert agreement_metrics(agreement(found.outputs, known.outputs, 9))["min_snr_db"] > 20, name


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        (  # a cache, which its join in floats alone reads
            "net (float[n, 1, 8] x, float[n, 4, 8] past) => (float[n, 5, 8] all) "
            "{ y = MatMul (x, w) z = Mul (y, ten) all = Concat <axis = 1> (past, z) }",
            {"x": (1, 8), "past": (4, 8)},
        ),
        (  # integers alone
            "net (float[n, 8] x) => (int64[n] best) "
            "{ y = MatMul (x, w) z = Mul (y, ten) best = ArgMax <axis = 1, keepdims = 0> (z) }",
            {"x": (8,)},
        ),
        (  # as many columns as are found in a sample
            "net (float[1, 8] x) => (float[1, m] found) { y = MatMul (x, w) p = Relu (y) i = NonZero (p) "
            "k = Gather <axis = 0> (i, row) v = Squeeze (k, first) g = Gather <axis = 1> (y, v) "
            "found = Mul (g, ten) }",
            {"x": (8,)},
        ),
    ],
    ids=["a cache", "integers", "open sizes"],
)
@pytest.mark.parametrize("calibration", [CALIBRATION, ENTROPY], ids=["minmax", "entropy"])
def test_int8_is_near_the_floats_whatever_inputs_and_outputs_are(
    text: str, shapes: dict[str, tuple[int, ...]], calibration: Calibration
) -> None:
    random = np.random.default_rng(1)
    weights = {"w": random.normal(size=(8, 8)), "ten": np.float32(10)}
    model = parsed(text, **weights, row=np.array([1]), first=np.array([0]))
    data = {name: random.normal(size=(SAMPLES, *shape)).astype(np.float32) for name, shape in shapes.items()}
    network = imported(model, RAW, (), 0, described(data).inputs).model
    sources = Sources(lambda n: Samples(data)[:n], pytest.fail, 0, lambda _: None)
    quantised = quantiser(Int8(True, calibration))(network, Int8(True, calibration), sources)
    kept = [x for x in range(SAMPLES) if len(shapes) > 1 or np.abs(data["x"][x] @ weights["w"]).min() > 0.4]
    chosen = Samples(data)[np.array(kept)]
    found, known = (outputs_in_memory(each, chosen, 1).outputs for each in (quantised, network))
    signals = agreement(found, known, len(kept)).values()
    assert all(signal is not None and signal.varies and signal.snr_db > 15 for signal in signals)


def test_integers_reach_the_network_in_their_own_type(tmp_path: Path) -> None:
    """Token 39 of 40 in int8 would be another one, if it was ever scaled; float32 loses ids beyond 2²⁴."""
    large = 2**24 + 1
    model = parsed(
        "ids (int32[n, 2] ids, float[n, 2] x) => (int32[n, 2] next, float[n, 2] y) "
        "{ next = Add (ids, one) y = Mul (x, two) }",
        one=np.ones((), np.int32),
        two=np.float32(2),
    )
    data = {"ids": large + np.arange(80).reshape(40, 2), "x": np.arange(80.0).reshape(40, 2)}
    onnx.save(model, tmp_path / "net.onnx")
    save_split(tmp_path, Split(np.zeros((40, 0)), np.zeros(40), data))
    run = LinuxDevice(LocalHost(), REFERENCE, None).measure(
        Pair("onnxruntime", tmp_path / "net.onnx", tmp_path / "net.onnx"), input_files(tmp_path)
    )
    np.testing.assert_array_equal(run.candidate.values["next"], data["ids"] + 1)
    assert run.candidate.values["next"].dtype == np.int32


def test_microcontroller_kernels_take_several_inputs_too(tmp_path: Path) -> None:
    tflite, _, files = converted(tmp_path, "two inputs", Int8(True, CALIBRATION))
    found = TflmDevice().measure(tflite, files)
    reference = predict(tflite.candidate, files, 1, tflite.orders)
    np.testing.assert_allclose(found.candidate.logits, reference.logits, atol=0.2)
    assert found.candidate.figures["reference_agreement"]["identical"] == 1


def test_outputs_of_other_sizes_from_sample_to_sample_are_no_fault() -> None:
    model = parsed("found (float[n, 6] x) => (int64[2, m] places) { places = NonZero (x) }")
    data = np.maximum(np.random.default_rng(0).normal(size=(9, 6)), 0).astype(np.float32)
    found = outputs_in_memory(model, Samples({"x": data}), 1)
    assert found.outputs["places"].size == 2 * (data > 0).sum()
    other = outputs_in_memory(model, Samples({"x": data[:, ::-1] + (data > 1)}), 1)
    compared = agreement_metrics(agreement(other.outputs, found.outputs, 9))
    assert compared == {
        "min_snr_db": -200.0,
        "outputs": {"places": {"snr_db": None, "max_relative_diff": None, "top1": None}},
    }
    assert agreement_metrics(agreement(found.outputs, found.outputs, 9))["min_snr_db"] == 200.0


def test_weights_of_branches_are_their_own_names() -> None:
    """What a branch calls `input` stays, where the network's own input becomes that."""
    inner = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, None)
    nodes = [helper.make_node("Neg", ["x"], ["input"])]
    branches = [helper.make_graph(nodes, name, [], [inner]) for name in ("a", "b")]
    made = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3, 2, 2]) for name in ("x", "y")
    ]
    graph = helper.make_graph(made, "g", ends[:1], ends[1:], [numpy_helper.from_array(np.float32(0), "zero")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    network = imported(model, RAW, (3, 2, 2), 0).model
    images = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(outputs_in_memory(network, images, 1).outputs["y"], -images)


def test_models_of_several_inputs_and_of_open_sizes_are_profiled(tmp_path: Path) -> None:
    model = parsed(
        "image (float[n, 3, h, w] image, float[n, 1, 1, 1] gain) => (float[n, 4, h, w] y) "
        "{ c = Conv <pads = [1, 1, 1, 1]> (image, kernel) y = Mul (c, gain) }",
        kernel=np.random.default_rng(0).normal(size=(4, 3, 3, 3)),
    )
    onnx.save(model, tmp_path / "net.onnx")
    convert(Request(tmp_path / "net.onnx", tmp_path / "net.tflite"), lambda _: None)
    device = LinuxDevice(LocalHost(), XNNPACK, None)
    found = profile(device, "tflite", [tmp_path / "net.tflite"], None, 10)
    assert len(found.candidate.operators) >= 2
