"""Small sound files of each sort that users and devices hand over, and how each sort is damaged."""

import copy
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from edgepress.convert.writer.file import to_pieces
from edgepress.convert.writer.graph import Graph, Operator, Tensor
from edgepress.convert.writer.metadata import explained
from edgepress.graph.about import classifier

Mutate = Callable[[bytes, random.Random], bytes]

_SIZES = (0, 1, 2, 3, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_WORDS = (
    "", "-1", "0", "1e999", "nan", "9" * 400, "9" * 5000, "null", "~", "true", "${oc.env:HOME}", "*a", "&a",
    "[" * 50, "\x1b[31m", "\u202e", "\ud800", "../../x", "a" * 2000, "{", "}", "\n", "\t- ", ": ", "'", '"',
    "\0", "2026-01-01",
)  # fmt: skip
"""What takes the place of a word in a text."""

_VALUES = (
    None, True, False, 0, -1, 1, 2, 40, 0.5, -0.5, 1e308, 2**63, 10**400, float("nan"), float("inf"), "", "x",
    "7", "\x1b[2J", "\u202e", "a" * 5000, [], [0], [[]], {}, {"a": 1}, [None], [1, 2, 3], [[1, 2, 3]],
)  # fmt: skip
"""What takes the place of a value in an answer."""


def bytes_changed(content: bytes, chance: random.Random) -> bytes:
    """One to four changes: cut, overwritten, repeated, a bit turned, or a part moved elsewhere."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place, kind = chance.randrange(len(changed) + 1), chance.randrange(6)
        if kind == 0 and chance.random() < 0.5:
            del changed[place:]
        elif kind == 1:
            changed[place : place + chance.randint(1, 8)] = chance.randbytes(chance.randint(0, 8))
        elif kind == 2:
            changed[place:place] = changed[place : place + chance.randint(1, 64)]
        elif kind == 3:
            start = chance.randrange(len(changed) + 1)
            changed[place:place] = changed[start : start + chance.randint(1, 200)]
        elif place < len(changed):
            changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


def numbers_changed(content: bytes, chance: random.Random) -> bytes:
    """One to three numbers of two or four bytes set to what a file that lies would say."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        form, step = chance.choice([("<H", 2), ("<I", 4), ("<I", 4), (">I", 4), ("<Q", 8)])
        if len(changed) < 16:
            break
        place = chance.randrange(0, len(changed) - 8, 2)
        value = chance.choice(
            [*_SIZES, len(changed), len(changed) - place, chance.randrange(len(changed)), place]
        )
        struct.pack_into(form, changed, place, value % 256**step)
    return bytes(changed)


def header_changed(content: bytes, chance: random.Random) -> bytes:
    """A .npy whose header is well formed but says something else."""
    descr = chance.choice(
        ["'<f4'", "'<f8'", "'|u1'", "'|O'", "'<U9'", "'|S0'", "'<c16'", "'|b1'", "'<M8[ns]'", "'|V8'",
         "'>i2'", "''",
         "[('a', '<f4')]", "'<f4,<f4'", "__import__('os')", "'<U99999999'", "None", "-" * 300 + "1"]
    )  # fmt: skip
    shape = chance.choice(
        ["(6, 4)", "()", "(0,)", "(-1,)", "(6, 0, 4)", f"({2**62},)", f"({2**31}, {2**31})", "(1,)" * 2,
         "(6, 4, )", "[6]",
         "(" + "1, " * 40 + ")", "(" + "9" * 400 + ",)", "6", "(True,)", "(6L, 4L)", "((6,),)", "(24,)"]
    )  # fmt: skip
    order = chance.choice(["True", "False", "0", "None"])
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if chance.random() < 0.2:
        text = text.replace(
            chance.choice(["'shape'", "'descr'", "{", "}", ","]), chance.choice(["", "'a'", "{{"])
        )
    body = content[128:] if chance.random() < 0.7 else content[128:] * chance.randint(0, 5)
    major = chance.choice([1, 1, 1, 2, 3, 9])
    encoded = text.encode("latin-1")
    length = min(len(encoded) if chance.random() < 0.9 else chance.randrange(70000), 65535)
    size = struct.pack("<H" if major == 1 else "<I", length)
    return b"\x93NUMPY" + bytes([major, 0]) + size + encoded + body


def directory_changed(content: bytes, chance: random.Random) -> bytes:
    """A zip of which a field of an entry, of a file's own head or of the end is another."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        signature = chance.choice([b"PK\1\2", b"PK\1\2", b"PK\3\4", b"PK\5\6"])
        fields = {
            b"PK\1\2": [
                (6, 2),
                (8, 2),
                (10, 2),
                (16, 4),
                (20, 4),
                (24, 4),
                (28, 2),
                (30, 2),
                (32, 2),
                (38, 4),
                (42, 4),
            ],
            b"PK\3\4": [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 1)],
            b"PK\5\6": [(4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
        }[signature]
        offset, size = chance.choice(fields)
        places = [i for i in range(len(changed) - 46) if changed.startswith(signature, i)]
        if signature == b"PK\5\6":
            places = [changed.rfind(signature)]
        if places and places[-1] >= 0:
            place, value = (
                chance.choice(places) + offset,
                chance.choice([*_SIZES, 6, 8, 9, 12, 14, 99, 0xA1FF0000]),
            )
            changed[place : place + size] = (value % 256**size).to_bytes(size, "little")
    return bytes(changed)


def values_changed(content: bytes, chance: random.Random) -> bytes:
    """A JSON text of which one or two values are others, or gone."""
    value = json.loads(content)
    for _ in range(chance.randint(1, 2)):
        here = value
        while isinstance(here, dict | list) and here:
            key = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
            if not isinstance(here[key], dict | list) or not here[key] or chance.random() < 0.3:
                if isinstance(here, dict) and chance.random() < 0.2:
                    del here[key]
                else:
                    here[key] = copy.deepcopy(chance.choice(_VALUES))
                break
            here = here[key]
    return json.dumps(value).encode()


def words_changed(content: bytes, chance: random.Random) -> bytes:
    """A text in which one to three words, lines or signs are others."""
    text = content.decode("utf-8", "surrogateescape")
    for _ in range(chance.randint(1, 3)):
        separator = chance.choice([" ", "\n", ",", ":", '"'])
        parts = text.split(separator)
        place, kind = chance.randrange(len(parts)), chance.randrange(4)
        if kind == 0:
            parts[place] = chance.choice(_WORDS)
        elif kind == 1:
            del parts[place]
        elif kind == 2:
            parts.insert(place, chance.choice(parts))
        else:
            parts[place] = parts[place] * chance.choice([2, 30])
        text = separator.join(parts)
    return text.encode("utf-8", "surrogatepass")


@cache
def npy() -> bytes:
    """An array (6, 4)."""
    file = io.BytesIO()
    np.save(file, np.arange(24, dtype=np.float32).reshape(6, 4))
    return file.getvalue()


@cache
def npz(compressed: bool) -> bytes:
    """Inputs (6, 4) and their classes."""
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(
        file,
        x=np.arange(24, dtype=np.float32).reshape(6, 4),
        y=np.arange(6) % 2,
        class_names=np.array(["a", "b"]),
    )
    return file.getvalue()


@cache
def image(form: str) -> bytes:
    """A picture of 16×16 pixels."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(file, form)
    return file.getvalue()


@cache
def zipped(method: int) -> bytes:
    """Three pictures of each of two classes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number in range(6):
            pixel = io.BytesIO()
            Image.new("L", (4, 4), number * 40).save(pixel, "PNG")
            archive.writestr(f"photos/{'ab'[number % 2]}/{number}.png", pixel.getvalue())
    return file.getvalue()


@cache
def tflite(quantised: bool) -> bytes:
    """A convolution, a transpose and a dense layer, as LiteRT's schema has them."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    kind = schema.TensorType.INT8 if quantised else schema.TensorType.FLOAT32
    weights = np.int8 if quantised else np.float32
    model.version, model.buffers = 3, [schema.BufferT()]
    model.operatorCodes, model.subgraphs = [], [graph]
    operators = ("CONV_2D", "TRANSPOSE", "FULLY_CONNECTED")
    for name in operators:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 1
        model.operatorCodes.append(code)
    graph.name, graph.tensors, graph.operators = b"main", [], []
    graph.inputs, graph.outputs = [0], [6]

    def tensor(name: str, shape: list[int], data: "np.ndarray | None" = None) -> None:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, kind, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
            made.type = schema.TensorType.INT32 if data.dtype == np.int32 else kind
        if quantised:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.5], [0]
        graph.tensors.append(made)

    chance = np.random.default_rng(0)
    tensor("input", [1, 8, 8, 3])
    tensor("kernel", [4, 3, 3, 3], chance.integers(-9, 9, (4, 3, 3, 3)).astype(weights))
    tensor("convolved", [1, 6, 6, 4])
    tensor("order", [4], np.array([0, 3, 1, 2], np.int32))
    tensor("asked_by/Reshape/node/so/transpose", [1, 4, 6, 6])
    tensor("dense", [2, 144], chance.integers(-9, 9, (2, 144)).astype(weights))
    tensor("logits", [1, 2])
    for index, (inputs, outputs) in enumerate((([0, 1, -1], [2]), ([2, 3], [4]), ([4, 5, -1], [6]))):
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = index, inputs, outputs
        graph.operators.append(operator)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@cache
def written(outside: bool) -> bytes:
    """Of this project's own writer: with its constants outside of the FlatBuffer, or with metadata."""
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    image, made, kernel, bias = (
        Tensor("input", (1, 8, 8, 3)),
        Tensor("conv", (1, 6, 6, 4)),
        Tensor("conv.weight", weights.shape, values=weights),
        Tensor("", (4,), values=np.ones(4, np.float32)),
    )
    options = {"padding": "VALID", "stride_w": 1, "stride_h": 1}
    operator = Operator("CONV_2D", [image, kernel, bias], [made], options)
    graph = Graph([image], [made], [operator], ["input"], ["conv"])
    about = classifier(
        "digits", list("abcd"), (0, 255), ([7, 7, 7], [1, 2, 3]), {"model": {"name": "m", "n": 1}}
    )
    return bytes(to_pieces(graph, most=0) if outside else explained(graph, about))


METER = b"timestamp,watts\n" + b"".join(b"%d.25,%d.5\n" % (1_700_000_000 + n, n % 3) for n in range(40))
METER_ISO = b"n,time,power\n" + b"".join(b'%d,"2026-01-01T00:00:%02d+00:00",3\n' % (n, n) for n in range(40))
BENCHMARK = (
    b"INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed\n"
    b"INFO: Init: 12, First inference: 34\n"
    b"INFO: count=50 first=9 curr=9 min=9 max=9 avg=9 std=7 p5=9 median=1500 p95=9\nexit status 0\n"
)
DESCRIPTION = json.dumps(
    {
        "name": "digits", "input_shape": [1, 8, 8], "class_names": ["0", "1"], "value_range": [0.0, 255.0],
        "mean": [7.0],
        "std": [1.0], "samples": {"train": 3}, "source": "here", "licence": "CC0",
    },
    indent=2,
).encode()  # fmt: skip
MACHINE = {
    "cpu": "Cortex-A72",
    "architecture": "aarch64",
    "cores": 4,
    "system": "Linux",
    "fingerprint": "0123456789ab",
}
TENSOR = {"dims": [1, None, 4], "dtype": "int8", "scale": 0.5, "zero_point": -3}
ANSWERS = {
    "start": {"pid": 7},
    "load": {"load_ms": 1.5, "input": TENSOR, "output": TENSOR},
    "inputs": {"samples": 40},
    "time": {"durations_ns": [1000, 1001, 1002]},
    "sustain": {"inferences": 9, "begin_s": 1.0, "end_s": 2.0, "first_p50_ms": 1.0, "last_p50_ms": 1.0},
    "stats": {
        "peak_memory_bytes": 9, "idle_memory_bytes": 8, "runtime_version": "2.3.0", "op_resolver": "BUILTIN",
        "machine": MACHINE, "emulated": False,
    },
    "predict": {"predicted": 4, "samples": 40},
    "nodes": {
        "nodes": [{"name": "conv", "operator": "Conv", "shape": [1, 4]}], "durations_us": [[5], [6]],
        "run_us": [7, 8],
    },
    "batch": {"fault": None},
    "time_cuts": {"durations_ns": [[1, 2, 3], [4, 5, 6]]},
}  # fmt: skip
