"""A network written as the content of a `.tflite` (LiteRT's schema, a FlatBuffer).

Equal constants, quantisations, shapes and names are stored once. Constants begin at multiples of 16 bytes
of the file, as the schema asks for and some runtimes rely on, and are copied once, from where they are to the
disk.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress.convert.pieces import Pieces
from edgepress.convert.tflite_model import MAKER, NODES
from edgepress.convert.writer.contents import (
    ALIGNMENT,
    MOST_BYTES,
    buffer_table,
    filled,
    with_contents_behind,
    with_contents_within,
)
from edgepress.convert.writer.distinct import Tensors, content_key, distinct, stored
from edgepress.convert.writer.graph import Array, Codes, Graph, Operator, Tensor
from edgepress.convert.writer.names import names_of, nodes_of_ends
from edgepress.convert.writer.options import TYPES, options_of
from edgepress.convert.writer.versions import version_of

_VERSION = 3

Code = tuple[str, int, str]
"""An operator's kind and version, and the name of one that is custom."""


def to_pieces(graph: Graph, most: int = MOST_BYTES, metadata: Mapping[str, bytes] | None = None) -> Pieces:
    """The finished file; the network is not changed.

    Args:
        graph: the network.
        most: a file of more bytes has its constants outside of the FlatBuffer, as `contents.py` says.
        metadata: entries of the file by name.
    """
    return _Writer(graph, metadata or {}).write(most)


class _Writer:
    def __init__(self, graph: Graph, metadata: Mapping[str, bytes]) -> None:
        self._graph = graph
        self._graphs = graph.whole()
        self._numbers_of_graphs = {id(each): number for number, each in enumerate(self._graphs)}
        self._tensors = [distinct(each.tensors()) for each in self._graphs]
        self._names = [names_of(each) for each in self._graphs]
        self._buffers: list[Array | None] = [None]
        self._known_contents = dict[Any, int]()
        self._places = [self._buffers_of_tensors(tensors) for tensors in self._tensors]
        self._metadata = [self._entry(*each) for each in {**_nodes(graph), **metadata}.items()]
        self._shared: dict[Any, int] = {}
        self._builder = flatbuffers.Builder(512 * sum(map(_tables, self._graphs)) + 4096)

    def write(self, most: int) -> Pieces:
        """Tables are written from the leaves on, and lie in the file from the end on."""
        codes = self._operator_codes()
        outside = sum(array.nbytes + ALIGNMENT for array in self._buffers if array is not None) > most
        subgraphs = self._vector([self._subgraph(number, codes) for number in range(len(self._graphs))])
        signatures = self._vector([self._signature()])
        kinds = self._vector([self._operator_code(*code) for code in codes])
        metadata = self._vector([self._metadata_table(*entry) for entry in self._metadata])
        description = self._string(MAKER)
        b = self._builder
        before = int(b.Offset())
        tables = [buffer_table(b, array, outside) for array in self._buffers]
        buffers = self._vector(tables)
        schema.ModelStart(b)
        schema.ModelAddVersion(b, _VERSION)
        schema.ModelAddOperatorCodes(b, kinds)
        schema.ModelAddSubgraphs(b, subgraphs)
        schema.ModelAddDescription(b, description)
        schema.ModelAddBuffers(b, buffers)
        if self._metadata:
            schema.ModelAddMetadata(b, metadata)
        schema.ModelAddSignatureDefs(b, signatures)
        b.Finish(schema.ModelEnd(b), file_identifier=b"TFL3")
        contents = filled(tables, self._buffers, len(self._metadata))
        if outside:
            return with_contents_behind(b, contents)
        return with_contents_within(b, contents, tables, before)

    # Buffers

    def _buffers_of_tensors(self, tensors: Tensors) -> list[int]:
        """The number of each tensor's buffer; the first stands for no content."""
        places, known = [], self._known_contents
        for tensor in tensors.unique:
            if tensor.values is None:
                places.append(0)
                continue
            array = stored(tensor)
            key = content_key(array)
            if key not in known:
                known[key] = len(self._buffers)
                self._buffers.append(array)
            places.append(known[key])
        return places

    def _entry(self, name: str, content: bytes) -> tuple[str, int]:
        """An entry of the file's metadata and the number of its buffer."""
        self._buffers.append(np.frombuffer(content, np.uint8))
        return name, len(self._buffers) - 1

    # Tables

    def _metadata_table(self, name: str, buffer: int) -> int:
        b, text = self._builder, self._string(name)
        schema.MetadataStart(b)
        schema.MetadataAddName(b, text)
        schema.MetadataAddBuffer(b, buffer)
        return int(schema.MetadataEnd(b))

    def _subgraph(self, number: int, codes: dict[Code, int]) -> int:
        b, graph, index = self._builder, self._graphs[number], self._tensors[number].index
        names, places = self._names[number], self._places[number]
        tensors = self._vector(
            [
                self._tensor(tensor, names.get(id(tensor), tensor.name), place)
                for tensor, place in zip(self._tensors[number].unique, places, strict=True)
            ]
        )
        operators = self._vector([self._operator(operator, index, codes) for operator in graph.operators])
        inputs, outputs = (
            self._integers([index[id(tensor)] for tensor in ends]) for ends in (graph.inputs, graph.outputs)
        )
        name = self._string("main" if number == 0 else f"main_{number}")
        schema.SubGraphStart(b)
        schema.SubGraphAddTensors(b, tensors)
        schema.SubGraphAddInputs(b, inputs)
        schema.SubGraphAddOutputs(b, outputs)
        schema.SubGraphAddOperators(b, operators)
        schema.SubGraphAddName(b, name)
        return int(schema.SubGraphEnd(b))

    def _tensor(self, tensor: Tensor, called: str, buffer: int) -> int:
        b = self._builder
        shape = self._integers(tensor.shape)
        name = self._string(called)
        signature = 0 if tensor.signature is None else self._integers(tensor.signature)
        quantisation = 0 if tensor.codes is None else self._quantisation(tensor.codes)
        schema.TensorStart(b)
        schema.TensorAddShape(b, shape)
        schema.TensorAddType(b, TYPES[tensor.dtype])
        schema.TensorAddBuffer(b, buffer)
        schema.TensorAddName(b, name)
        if quantisation:
            schema.TensorAddQuantization(b, quantisation)
        schema.TensorAddHasRank(b, True)
        if signature:
            schema.TensorAddShapeSignature(b, signature)
        return int(schema.TensorEnd(b))

    def _quantisation(self, codes: Codes) -> int:
        key = ("quantisation", codes.axis, codes.scale.tobytes(), codes.zero_points.tobytes())
        if key in self._shared:
            return self._shared[key]
        b = self._builder
        scale = self._numbers(codes.scale.astype(np.float32))
        zeros = self._numbers(np.broadcast_to(codes.zero_points, codes.scale.shape).astype(np.int64))
        schema.QuantizationParametersStart(b)
        schema.QuantizationParametersAddScale(b, scale)
        schema.QuantizationParametersAddZeroPoint(b, zeros)
        schema.QuantizationParametersAddQuantizedDimension(b, codes.axis)
        self._shared[key] = int(schema.QuantizationParametersEnd(b))
        return self._shared[key]

    def _operator_codes(self) -> dict[Code, int]:
        """The number of each operator in each version that is used."""
        codes: dict[Code, int] = {}
        for operator in (operator for graph in self._graphs for operator in graph.operators):
            codes.setdefault(_code(operator), len(codes))
        return codes

    def _operator_code(self, kind: str, version: int, custom: str) -> int:
        """Old runtimes read the number from a field of 8 bits."""
        b, number = self._builder, getattr(schema.BuiltinOperator, kind)
        text = self._string(custom) if custom else 0
        schema.OperatorCodeStart(b)
        schema.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
        schema.OperatorCodeAddVersion(b, version)
        schema.OperatorCodeAddBuiltinCode(b, number)
        if custom:
            schema.OperatorCodeAddCustomCode(b, text)
        return int(schema.OperatorCodeEnd(b))

    def _operator(self, operator: Operator, index: dict[int, int], codes: dict[Code, int]) -> int:
        b = self._builder
        inputs = self._integers([-1 if t is None else index[id(t)] for t in operator.inputs])
        outputs = self._integers([index[id(t)] for t in operator.outputs])
        kind, options = options_of(operator)
        options |= {field: self._numbers_of_graphs[id(graph)] for field, graph in operator.graphs.items()}
        table = self._options(kind, options) if kind else 0
        content = b.CreateByteVector(operator.content) if operator.content else 0
        schema.OperatorStart(b)
        schema.OperatorAddOpcodeIndex(b, codes[_code(operator)])
        schema.OperatorAddInputs(b, inputs)
        schema.OperatorAddOutputs(b, outputs)
        if kind:
            schema.OperatorAddBuiltinOptionsType(b, getattr(schema.BuiltinOptions, kind))
            schema.OperatorAddBuiltinOptions(b, table)
        if operator.content:
            schema.OperatorAddCustomOptions(b, content)
        return int(schema.OperatorEnd(b))

    def _options(self, kind: str, options: dict[str, Any]) -> int:
        key = (kind, *sorted(options.items(), key=str))
        if key not in self._shared:
            table = getattr(schema, f"{kind}T")()
            for field, value in options.items():
                assert hasattr(table, field), (kind, field)
                setattr(table, field, value)
            self._shared[key] = int(table.Pack(self._builder))
        return self._shared[key]

    def _signature(self) -> int:
        graph, b = self._graph, self._builder
        inputs, outputs = (
            self._vector([self._named(*pair) for pair in zip(names, tensors, strict=True)])
            for names, tensors in ((graph.input_names, graph.inputs), (graph.output_names, graph.outputs))
        )
        key = self._string("serving_default")
        schema.SignatureDefStart(b)
        schema.SignatureDefAddInputs(b, inputs)
        schema.SignatureDefAddOutputs(b, outputs)
        schema.SignatureDefAddSignatureKey(b, key)
        return int(schema.SignatureDefEnd(b))

    def _named(self, name: str, tensor: Tensor) -> int:
        b, text = self._builder, self._string(name)
        schema.TensorMapStart(b)
        schema.TensorMapAddName(b, text)
        schema.TensorMapAddTensorIndex(b, self._tensors[0].index[id(tensor)])
        return int(schema.TensorMapEnd(b))

    # Vectors

    def _string(self, text: str) -> int:
        return int(self._builder.CreateSharedString(text))

    def _integers(self, numbers: Sequence[int]) -> int:
        return self._numbers(np.asarray(numbers, np.int32))

    def _numbers(self, numbers: Array) -> int:
        key = ("numbers", numbers.dtype.char, numbers.tobytes())
        if key not in self._shared:
            self._shared[key] = int(self._builder.CreateNumpyVector(np.ascontiguousarray(numbers)))
        return self._shared[key]

    def _vector(self, tables: Sequence[int]) -> int:
        b = self._builder
        b.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            b.PrependUOffsetTRelative(table)
        return int(b.EndVector())


def _code(operator: Operator) -> Code:
    return operator.kind, version_of(operator), operator.custom


def _tables(graph: Graph) -> int:
    return len(graph.tensors()) + len(graph.operators)


def _nodes(graph: Graph) -> dict[str, bytes]:
    """The entry of metadata that tells the nodes of operators whose tensors do not."""
    found = nodes_of_ends(graph)
    told = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return {NODES: told.encode(errors="replace")} if found else {}
