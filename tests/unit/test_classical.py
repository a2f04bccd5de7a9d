"""The operators of ai.onnx.ml, as scikit-learn's converter writes them, beside ONNX Runtime."""

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.svm import SVC

from edgepress.errors import UnsupportedModelError
from edgepress.graph.normalise.normalise import normalise, with_sizes
from edgepress.graph.shapes import BATCH, open_sizes
from edgepress.graph.view import copy
from edgepress.translate.planning import plan_graph
from tests.beside import in_file, in_steps, same, wanted

RANDOM = np.random.default_rng(8)
FEATURES, CLASSES, SAMPLES = 5, 4, 6


def floats(*shape: int) -> list[float]:
    return [float(each) for each in RANDOM.normal(size=shape).astype(np.float32).reshape(-1)]


def node(op: str, results: int = 1, operands: tuple[str, ...] = ("x",), **given: Any) -> onnx.NodeProto:
    names = [f"y{i}" for i in range(results)]
    return helper.make_node(op, operands, names, "it", domain="ai.onnx.ml", **given)


def model_of(
    *nodes: onnx.NodeProto, dtype: Any = np.float32, samples: Any = "n", version: int = 3, **constants: Any
) -> onnx.ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    entry = helper.make_tensor_value_info("x", kind, [samples, FEATURES])
    ends = [onnx.ValueInfoProto(name=name) for name in nodes[-1].output]
    held = [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "it", [entry], ends, held)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    for output, made in zip(graph.output, wanted(model, {"x": data(dtype)}).values(), strict=True):
        output.CopyFrom(
            helper.make_tensor_value_info(
                output.name, helper.np_dtype_to_tensor_dtype(made.dtype), [None] * made.ndim
            )
        )
    del model.graph.output[:]
    model.graph.output.extend(graph.output)
    return model


def data(dtype: Any = np.float32) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(SAMPLES, FEATURES)) * 2
    return x.astype(dtype)


def check(model: onnx.ModelProto, x: np.ndarray) -> None:
    expected = wanted(model, {"x": x})
    normal = normalise(copy(model))
    for number in (len(x), 1):
        fixed = with_sizes(normal, {BATCH: number}) if BATCH in open_sizes(normal) else normal
        for made in (in_file(fixed, {"x": x[:number]}), in_steps(fixed, {"x": x[:number]})):
            for name, right in expected.items():
                assert np.unique(right).size > 1, name
                same(made[name], right[:number])


COLUMNS = {
    "Scaler": {"offset": floats(FEATURES), "scale": floats(FEATURES)},
    "Binarizer": {"threshold": 0.3},
    "Imputer": {"imputed_value_floats": floats(FEATURES), "replaced_value_float": -1.5},
}


@pytest.mark.parametrize("op", COLUMNS)
def test_columns_made_others(op):
    x = data()
    x[1, 2] = x[4, 0] = -1.5
    check(model_of(node(op, **COLUMNS[op])), x)


def test_numbers_that_are_none_are_replaced():
    x = data()
    x[1, 2] = x[0, 0] = np.nan
    check(model_of(node("Imputer", imputed_value_floats=floats(1), replaced_value_float=float("nan"))), x)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_rows_by_their_norm(norm):
    x = data()
    x[2] = 0
    check(model_of(node("Normalizer", norm=norm)), x)


def test_features_picked_and_joined():
    picked = helper.make_node("ArrayFeatureExtractor", ["x", "at"], ["p"], "p", domain="ai.onnx.ml")
    joined = node("FeatureVectorizer", operands=("p", "x"), inputdimensions=[2, FEATURES])
    check(model_of(picked, joined, at=np.array([3, 0])), data())


@pytest.mark.parametrize("kinds", ["int64s int64s", "int64s floats", "floats int64s"])
def test_labels_encoded(kinds):
    keys, values = kinds.split()
    tables = {"int64s": [3, -1, 0, 7], "floats": [3.0, -1.0, 0.5, 2.0]}
    default = {"default_int64": 9} if values == "int64s" else {"default_float": 9.0}
    given = {f"keys_{keys}": tables[keys], f"values_{values}": tables[values][::-1]}
    dtype = np.int64 if keys == "int64s" else np.float32
    x = np.random.default_rng(2).choice([3, -1, 0, 7, 2], (SAMPLES, FEATURES)).astype(dtype)
    check(model_of(node("LabelEncoder", **given, **default), dtype=dtype), x)


def test_categories_in_columns():
    x = np.random.default_rng(2).integers(0, 4, (SAMPLES, FEATURES))
    check(model_of(node("OneHotEncoder", cats_int64s=[2, 0, 3], zeros=1), dtype=np.int64), x)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5, -2, 7, 0]])
def test_a_linear_classifier(transform, labels):
    given = {"coefficients": floats(CLASSES, FEATURES), "intercepts": floats(CLASSES)}
    one = node("LinearClassifier", 2, **given, classlabels_ints=labels, post_transform=transform)
    check(model_of(one), data())


def test_linear_regressors_and_support_vectors():
    given = {"coefficients": floats(2, FEATURES), "intercepts": floats(2), "targets": 2}
    check(model_of(node("LinearRegressor", **given)), data())
    vectors = {
        "support_vectors": floats(3, FEATURES),
        "coefficients": floats(3),
        "n_supports": 3,
        "rho": [0.4],
    }
    for kernel, parameters in (
        ("RBF", [0.2, 0, 0]),
        ("POLY", [0.2, 1.5, 3]),
        ("LINEAR", [0.0, 0, 0]),
        ("SIGMOID", [0.1, 0.3, 0]),
    ):
        check(model_of(node("SVMRegressor", **vectors, kernel_type=kernel, kernel_params=parameters)), data())


def forest(
    kind: str, trees: int, depth: int, count: int, mode: str = "BRANCH_LEQ", low: float = 0.0
) -> dict[str, Any]:
    """Whole trees with random thresholds and leaves."""
    found: dict[str, list[Any]] = {}

    def add(part: str, value: Any) -> None:
        found.setdefault(part, []).append(value)

    inner = 2**depth - 1
    for tree in range(trees):
        for number in range(2 * inner + 1):
            leaf = number >= inner
            add("nodes_treeids", tree)
            add("nodes_nodeids", number)
            add("nodes_featureids", int(RANDOM.integers(FEATURES)))
            add("nodes_values", float(RANDOM.normal()))
            add("nodes_modes", "LEAF" if leaf else mode)
            add("nodes_truenodeids", 0 if leaf else 2 * number + 1)
            add("nodes_falsenodeids", 0 if leaf else 2 * number + 2)
            for place in range(count if leaf else 0):
                add(f"{kind}_treeids", tree)
                add(f"{kind}_nodeids", number)
                add(f"{kind}_ids", place)
                add(f"{kind}_weights", float(RANDOM.uniform(low, 1)))
    return found


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"])
@pytest.mark.parametrize("trees", [1, 5])
def test_a_forest_that_tells_classes(trees, mode):
    labels = [3, 1, 4, 8]
    given = forest("class", trees, 3, CLASSES, mode)
    check(model_of(node("TreeEnsembleClassifier", 2, **given, classlabels_int64s=labels)), data())


@pytest.mark.parametrize(("low", "transform"), [(0.0, "NONE"), (-1.0, "LOGISTIC"), (-1.0, "NONE")])
def test_a_forest_of_one_score_for_two_classes(low, transform):
    given = forest("class", 3, 2, 1, low=low)
    if not low:
        given["class_weights"] = [i % 2 / 3 for i in range(len(given["class_weights"]))]
    one = node("TreeEnsembleClassifier", 2, **given, classlabels_int64s=[0, 1], post_transform=transform)
    check(model_of(one), data())


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_a_forest_that_tells_numbers(aggregate):
    given = forest("target", 4, 3, 2, low=-1)
    one = node(
        "TreeEnsembleRegressor", **given, n_targets=2, base_values=[0.5, -1.0], aggregate_function=aggregate
    )
    check(model_of(one), data())


def supported(classes: int, probability: bool, kernel: str) -> dict[str, Any]:
    """What scikit-learn's converter writes of such a classifier."""
    random = np.random.default_rng(5)
    y = np.arange(120) % classes
    x = random.normal(size=(120, FEATURES)) + random.normal(size=(classes, FEATURES))[y]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there will be another way to ask for probabilities
        model = SVC(kernel=kernel, probability=probability, random_state=0).fit(x, y)
        pairs = {"prob_a": model.probA_, "prob_b": model.probB_} if probability else {}
    arrays = {
        "support_vectors": model.support_vectors_,
        "coefficients": model._dual_coef_,
        "rho": model._intercept_,
        **pairs,
    }
    return {
        **{name: values.astype(np.float32).reshape(-1).tolist() for name, values in arrays.items()},
        "vectors_per_class": model.n_support_.tolist(),
        "kernel_type": kernel.upper(),
        "kernel_params": [float(model._gamma), model.coef0, float(model.degree)],
        "classlabels_ints": [7 * number + 3 for number in range(classes)],
        "post_transform": "NONE",
    }


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("probability", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_told_apart_by_support_vectors(classes, probability, kernel):
    """With probabilities by rounds that each sample ends for itself."""
    check(model_of(node("SVMClassifier", 2, **supported(classes, probability, kernel))), data())


def test_classes_told_apart_by_a_row_of_coefficients_each():
    given = {"coefficients": floats(CLASSES, FEATURES), "rho": [0.3], "kernel_params": [0.0, 0.0, 0.0]}
    check(
        model_of(node("SVMClassifier", 2, **given, kernel_type="LINEAR", classlabels_ints=[4, 0, 9, 2])),
        data(),
    )


REFUSED = [
    (node("ZipMap", classlabels_int64s=list(range(FEATURES))), r"options=\{'zipmap': False\}"),
    (
        node(
            "LinearClassifier",
            2,
            coefficients=floats(2, FEATURES),
            intercepts=floats(2),
            classlabels_strings=["a", "b"],
        ),
        r"its labels \(a, b…\) are text",
    ),
]


@pytest.mark.parametrize(("one", "why"), REFUSED)
def test_maps_and_text_are_refused_with_a_remedy(one, why):
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])
    kinds = {"ZipMap": TensorProto.FLOAT, "LinearClassifier": TensorProto.STRING}
    ends = [helper.make_tensor_value_info(one.output[0], kinds[one.op_type], ["n"])]
    if one.op_type == "ZipMap":
        mapped = helper.make_map_type_proto(
            TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
        ends = [helper.make_value_info(one.output[0], helper.make_sequence_type_proto(mapped))]
    graph = helper.make_graph([one], "it", [entry], ends)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    with pytest.raises(UnsupportedModelError, match=why):
        plan_graph(normalise(model))


@pytest.mark.parametrize("aggregate", [0, 1, 2, 3])
def test_an_ensemble_as_its_newest_form_has_it(aggregate):
    """Two trees of three nodes, whose leaves are numbered by themselves."""
    tensors = {
        "nodes_splits": floats(6),
        "leaf_weights": floats(8),
    }
    given: dict[str, Any] = {
        name: onnx.numpy_helper.from_array(np.array(values, np.float32)) for name, values in tensors.items()
    }
    given["nodes_modes"] = onnx.numpy_helper.from_array(np.array([0, 1, 2, 0, 3, 1], np.uint8))
    given |= {"nodes_featureids": [0, 1, 2, 3, 4, 0], "tree_roots": [0, 3], "n_targets": 2}
    given |= {"nodes_truenodeids": [1, 0, 2, 4, 4, 6], "nodes_falsenodeids": [2, 1, 3, 5, 5, 7]}
    given |= {"nodes_trueleafs": [0, 1, 1, 0, 1, 1], "nodes_falseleafs": [0, 1, 1, 0, 1, 1]}
    given |= {"leaf_targetids": [0, 1, 0, 1, 1, 0, 1, 0], "aggregate_function": aggregate}
    check(model_of(node("TreeEnsemble", **given), version=5), data())


def test_a_linear_model_with_coefficients_of_other_features_is_refused_in_plain_words():
    faulty = node("LinearRegressor", coefficients=floats(2 * FEATURES), intercepts=floats(1))
    with pytest.raises(UnsupportedModelError, match=f"it has {2 * FEATURES} coefficients for 1×{FEATURES}"):
        plan_graph(normalise(model_of(faulty)))
