"""The shapes of what the operators of ai.onnx.ml make, which onnx does not infer."""

from collections.abc import Mapping

import onnx

from edgepress.graph.view import attributes

DOMAIN = "ai.onnx.ml"
Dims = list[onnx.TensorShapeProto.Dimension]

_ALIKE = ("Binarizer", "Imputer", "LabelEncoder", "Normalizer", "Scaler")
_CLASSIFIERS = ("LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier")
_LABELS = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")


def tell_classical_shapes(model: onnx.ModelProto) -> None:
    """Note them in place, as far as those of the operands are known."""
    nodes = [node for node in model.graph.node if node.domain == DOMAIN]
    for _ in range(len(nodes)):
        graph = onnx.shape_inference.infer_shapes(model).graph
        known = {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}
        known |= {tensor.name: _of_tensor(tensor) for tensor in graph.initializer}
        told = [info for node in nodes for info in _made(node, known)]
        if not told:
            return
        names = {info.name: info for info in told}
        for output in model.graph.output:
            if output.name in names:
                output.CopyFrom(names.pop(output.name))
        kept = [info for info in model.graph.value_info if info.name not in names]
        del model.graph.value_info[:]
        model.graph.value_info.extend([*kept, *names.values()])


def _of_tensor(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))


def _made(node: onnx.NodeProto, known: Mapping[str, onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    """What the node makes whose shape is not known yet."""
    operand = known.get(node.input[0])
    if operand is None or not operand.type.tensor_type.HasField("shape"):
        return []
    results = _shapes(node, operand, known)
    return [
        _info(name, kind, dims)
        for name, (kind, dims) in zip(node.output, results, strict=False)
        if name and not (name in known and known[name].type.tensor_type.HasField("shape"))
    ]


def _shapes(
    node: onnx.NodeProto, operand: onnx.ValueInfoProto, known: Mapping[str, onnx.ValueInfoProto]
) -> list[tuple[int, Dims]]:
    given, kind = attributes(node), operand.type.tensor_type.elem_type
    dims, number = list(operand.type.tensor_type.shape.dim), onnx.TensorProto.FLOAT
    rows = dims[:1] if len(dims) > 1 else [_fixed(1)]
    if node.op_type in _ALIKE:
        whole = node.op_type in ("Binarizer", "Imputer")
        of_labels = onnx.TensorProto.INT64 if given.get("values_int64s") else number
        return [(of_labels if node.op_type == "LabelEncoder" else kind if whole else number, dims)]
    if node.op_type in _CLASSIFIERS:
        classes: list[object] = next((given[name] for name in _LABELS if given.get(name)), [])
        text = onnx.TensorProto.STRING if given.get("classlabels_strings") else onnx.TensorProto.INT64
        count = len(classes)
        pairs = given.get("vectors_per_class") and not given.get("prob_a") and count > 2
        return [(text, rows), (number, [*rows, _fixed(count * (count - 1) // 2 if pairs else count)])]
    if node.op_type in ("LinearRegressor", "TreeEnsemble", "TreeEnsembleRegressor", "SVMRegressor"):
        count = given.get("targets", given.get("n_targets", 1))
        return [(number, [*rows, _fixed(count)])]
    if node.op_type == "OneHotEncoder":
        return [(number, [*dims, _fixed(len(given.get("cats_int64s", given.get("cats_strings", []))))])]
    if node.op_type == "FeatureVectorizer":
        return [(number, [*rows, _fixed(sum(given.get("inputdimensions", [])))])]
    if node.op_type == "ArrayFeatureExtractor" and node.input[1] in known:
        places = known[node.input[1]].type.tensor_type.shape.dim
        size = _count(places)
        return [(kind, [*(dims[:-1] if len(dims) > 1 else rows), size])]
    return []


def _count(dims: object) -> onnx.TensorShapeProto.Dimension:
    """The number of elements; open where a size is."""
    total = 1
    for dim in dims:  # type: ignore[attr-defined]
        if not dim.HasField("dim_value"):
            return onnx.TensorShapeProto.Dimension(dim_param=dim.dim_param)
        total *= dim.dim_value
    return _fixed(total)


def _fixed(size: int) -> onnx.TensorShapeProto.Dimension:
    return onnx.TensorShapeProto.Dimension(dim_value=size)


def _info(name: str, kind: int, dims: Dims) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = kind
    info.type.tensor_type.shape.dim.extend(dims)
    return info
