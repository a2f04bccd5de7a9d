"""Group normalisation as exporters write it, found again.

ONNX got an operator for it late, so it comes as a reshape to (N, groups, rest), InstanceNormalization and the
reshape back. The first joins axes in NCHW's order, for which an image stored as NHWC would be transposed; as
one operator it stays where it is.
"""

from collections.abc import Iterator

import onnx

from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import consumers, producers, replace_nodes
from edgepress.translate.reading import Shape, tensor_shape

GROUP_NORM = "GroupNormalization"


def find_group_norms(model: onnx.ModelProto) -> None:
    """Write, in place, each such three nodes as one of the type GroupNormalization, as of opset 18."""
    triples = list(_triples(model))
    infos = inferred_infos(model) if triples else {}
    fused, dropped = {}, set[str]()
    for before, norm, after in triples:
        ends = (before.input[0], norm.input[0], after.output[0])
        if not all(name in infos for name in ends):
            continue
        image, grouped, result = (tensor_shape(infos[name]) for name in ends)
        if not _only_groups(image, grouped, result):
            continue
        one = onnx.helper.make_node(
            GROUP_NORM, [ends[0], *norm.input[1:]], [ends[2]], norm.name, num_groups=grouped[1]
        )
        one.attribute.extend(norm.attribute)
        fused[after.name] = one
        dropped |= {before.name, norm.name}
        _note_shape(model, infos[ends[0]], ends[2])
    if fused:
        kept = [fused.get(node.name, node) for node in model.graph.node if node.name not in dropped]
        replace_nodes(model, kept)


def _triples(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]]:
    """Each InstanceNormalization between two reshapes, where nothing else reads what is in between."""
    readers, makers = consumers(model), producers(model)
    outputs = {output.name for output in model.graph.output}
    for norm in model.graph.node:
        if norm.op_type != "InstanceNormalization" or norm.input[0] not in makers:
            continue
        before, after = makers[norm.input[0]], readers[norm.output[0]]
        alone = len(readers[norm.input[0]]) == len(after) == 1 and not outputs & {*norm.input, *norm.output}
        if alone and before.op_type == after[0].op_type == "Reshape":
            yield before, norm, after[0]


def _note_shape(model: onnx.ModelProto, info: onnx.ValueInfoProto, name: str) -> None:
    """Note a tensor's type and shape: where its operator is newer than the opset they are not inferred."""
    if name not in {known.name for known in (*model.graph.value_info, *model.graph.output)}:
        noted = onnx.ValueInfoProto.FromString(info.SerializeToString())
        noted.name = name
        model.graph.value_info.append(noted)


def _only_groups(image: Shape, grouped: Shape, result: Shape) -> bool:
    """Whether (N, C, ...) is normalised as (N, G, ...), whose parts are whole channels, and comes back."""
    if len(image) < 3 or len(grouped) < 3 or not image[1] or not grouped[1] or image[1] % grouped[1]:
        return False
    return image[1:] == result[1:] and image[0] == grouped[0] and None not in image[1:]
