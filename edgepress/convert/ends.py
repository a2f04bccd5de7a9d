"""Outputs in codes that the network itself reads as numbers.

TensorFlow makes an output int8 by removing the operator that dequantises it, even where others read what that
makes, which then read nothing. Here the output gets one of its own first.
"""

import copy

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

_DEQUANTIZE = schema.BuiltinOperator.DEQUANTIZE


def with_own_outputs(content: bytes) -> bytes:
    """The same file, but that what dequantises an output does nothing else; as it is where that holds."""
    model = schema.ModelT.InitFromPackedBuf(content)
    changed = [_separate(graph, model.operatorCodes) for graph in model.subgraphs]
    if not any(changed):
        return content
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _separate(graph: schema.SubGraphT, kinds: list[schema.OperatorCodeT]) -> bool:
    """Give other readers of dequantised outputs a copy; whether there were any."""
    outputs, found = {int(index) for index in graph.outputs}, False
    for operator in list(graph.operators):
        kind = kinds[operator.opcodeIndex]
        made = int(operator.outputs[0])
        readers = [each for each in graph.operators if made in each.inputs]
        if (
            max(kind.builtinCode, kind.deprecatedBuiltinCode) != _DEQUANTIZE
            or made not in outputs
            or not readers
        ):
            continue
        graph.tensors.append(copy.copy(graph.tensors[made]))
        twin = copy.copy(operator)
        twin.outputs = [len(graph.tensors) - 1]
        graph.operators.insert(graph.operators.index(operator) + 1, twin)
        for reader in readers:
            reader.inputs = [twin.outputs[0] if index == made else index for index in reader.inputs]
        found = True
    return found
