"""What ONNX Runtime computes of a model as its file has it, whoever made it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import EncodeError

from edgepress.datasets.prepared import Array
from edgepress.datasets.samples import Inputs, Samples, as_samples
from edgepress.errors import ConversionError, EdgepressError
from edgepress.graph.view import operands, producers, replace_nodes
from edgepress.measure.entries import session_entries

if TYPE_CHECKING:
    import onnxruntime as ort

MOST_ELEMENTS = 1 << 25
"""Of all outputs together; from there on no further input is run, so that memory stays bounded."""


@dataclass(frozen=True)
class Reference:
    """Each output by name, in the model's order and axes, of `samples` inputs joined on the first axis."""

    outputs: Mapping[str, Array]
    samples: int


def keep_inputs(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Let the model ask for no other inputs than these, in place; no output may depend on the others."""
    needed = _needed(model)
    if len(needed) < len(model.graph.node):
        replace_nodes(model, needed)  # what is read in vain may be such an input
    constants = {tensor.name for tensor in model.graph.initializer}
    kept = [entry for entry in model.graph.input if entry.name in constants or entry.name in names]
    copies = [onnx.ValueInfoProto.FromString(entry.SerializeToString()) for entry in kept]
    del model.graph.input[:]
    model.graph.input.extend(copies)


def _needed(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on, in the graph's own order, whichever that is."""
    made_by, found = producers(model), set[int]()
    left = [output.name for output in model.graph.output]
    while left:
        maker = made_by.get(left.pop())
        if maker is not None and id(maker) not in found:
            found.add(id(maker))
            left.extend(operands(maker))
    return [node for node in model.graph.node if id(node) in found]


def serialised(model: onnx.ModelProto) -> bytes:
    """The model as bytes, as `reference` takes it.

    Raises:
        ConversionError: it is larger than ONNX's format allows for one piece.
    """
    try:
        content: bytes = model.SerializeToString()
    except (ValueError, EncodeError) as error:  # protobuf's limit
        raise ConversionError(
            "the model is larger than 2 GiB with its weights, more than --check can compare; "
            "go without --check"
        ) from error
    return content


def reference(content: bytes, inputs: Inputs, threads: int, optimised: bool = False) -> Reference:
    """Run a model on inputs, each sample by itself, or in groups where it has a fixed batch.

    Args:
        content: the model, all of its weights within.
        inputs: by name, or those of its only one (n, ...); cast to the types that it declares.
        threads: how many compute.
        optimised: whether ONNX Runtime may rewrite the network first; else it computes what is written.

    Raises:
        ConversionError: ONNX Runtime cannot run it.
    """
    try:
        return outputs_of(_session(content, threads, optimised), inputs)
    except EdgepressError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no public base
        reason = " ".join(str(error).split())[:200]
        raise ConversionError(
            f"ONNX Runtime, with which --check compares, cannot run the model ({reason}); "
            "export it again, or go without --check"
        ) from error


def _session(content: bytes, threads: int, optimised: bool) -> "ort.InferenceSession":
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def outputs_of(
    session: "ort.InferenceSession",
    inputs: Inputs,
    most: float | None = None,
    feed: Callable[[Samples], Samples] = lambda samples: samples,
) -> Reference:
    """As `reference`, of a model that ONNX Runtime has loaded.

    No further sample runs once the outputs have `most` elements, or else `MOST_ELEMENTS`. `feed` makes of
    samples what the model takes.

    Raises:
        ConversionError: a batch is built in that an output does not have.
        DataError: the inputs do not fit the model's.
    """
    entries, given = session_entries(session), as_samples(inputs)
    names, rows, elements, samples = [one.name for one in session.get_outputs()], list[list[Array]](), 0, 0
    group = feed(given[:1]).group(entries)
    for part in given.parts(group):
        rows.append(session.run(names, feed(part).feed(entries)))
        elements += sum(output.size for output in rows[-1])
        samples = min(samples + group, len(given))
        if elements >= (MOST_ELEMENTS if most is None else most):
            break
    outputs = {name: _joined(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)}
    return Reference({name: _cut(name, one, group, samples) for name, one in outputs.items()}, samples)


def _joined(rows: Sequence[Array]) -> Array:
    """An output of several inferences on the first axis; where sizes differ, all elements in a row."""
    whole = [np.atleast_1d(row) for row in rows]
    alike = len({row.shape[1:] for row in whole}) == 1
    return np.concatenate(whole if alike else [row.reshape(-1) for row in whole])


def _cut(name: str, output: Array, batch: int, samples: int) -> Array:
    """The output without the samples that filled up the last batch."""
    if batch == 1:
        return output
    if len(output) != -(-samples // batch) * batch:
        raise ConversionError(
            f"the model has a batch of {batch} built in, which its output {name[:80]!r} does not have, so "
            "that nothing can be compared sample by sample; export it for a batch of 1, or give inputs of "
            "the model's whole shape for each sample (samples, batch, ...)"
        )
    return output[:samples]
