"""Which networks cannot be fine-tuned: told in a line, without TensorFlow."""

import onnx

from edgepress.config.fine_tune import FineTune
from edgepress.errors import ConfigError, UnsupportedModelError
from edgepress.graph.shapes import inferred_infos
from edgepress.graph.view import operands
from edgepress.text import shown
from edgepress.translate.plan import Plan
from edgepress.translate.trainable import has_own_kernel

_FLOATS = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE,
)  # fmt: skip
_STEPPED = ("Ceil", "Floor", "Round")
"""What they give does not change with small changes of what they are given: there is no gradient."""


def refuse_untrainable(model: onnx.ModelProto, plan: Plan, config: FineTune, stage: str) -> None:
    """Refuse to train what has no batches, or nothing to learn; with `epochs=0` nothing is trained.

    Args:
        model: the network.
        plan: of it.
        config: how it is to be trained.
        stage: the section of the parameters, `prune`, `cluster` or `quant`.

    Raises:
        UnsupportedModelError: a batch is built into the network, or no gradient reaches its weights.
        ConfigError: it gives no classes, but is to learn from such.
    """
    if not config.epochs:
        return
    key = f"{stage}.fine_tune"
    if fixed := _fixed(model, plan):
        raise UnsupportedModelError(
            f"{stage}: the network has its batch built in ({shown(fixed)}), so that it cannot be trained "
            f"in batches; expected one with an open batch, or {key}.epochs=0"
        )
    kernels = {step.weights["kernel"].initializer for step in plan.steps if has_own_kernel(step)}
    if kernels and not kernels & _learning(model):
        names = ", ".join(shown(output.name) for output in model.graph.output)
        raise UnsupportedModelError(
            f"{stage}: the network cannot be trained, since no gradient of its outputs ({names}) reaches its "
            f"weights: integers, truth values and rounded numbers have none; expected {key}.epochs=0"
        )
    ranks = [len(output.type.tensor_type.shape.dim) for output in model.graph.output]
    if config.distillation < 1 and ranks != [2]:
        raise ConfigError(
            f"{key}.epochs is {config.epochs}, but the network gives no classes to learn; expected 0, or "
            f"{key}.distillation=1 (the network teaches itself)"
        )


def _fixed(model: onnx.ModelProto, plan: Plan) -> str:
    """The first input or output that has its batch built in, or none; empty where all are open."""
    fixed = [entry.name for entry in plan.entries if entry.shape[:1] != (None,)]
    for output in model.graph.output:
        dims = output.type.tensor_type.shape.dim
        if not dims or dims[0].HasField("dim_value"):
            fixed.append(output.name)
    return fixed[0] if fixed else ""


def _learning(model: onnx.ModelProto) -> set[str]:
    """The tensors that a gradient of an output reaches: through floats, and not through what rounds."""
    infos = inferred_infos(model)
    reached = {output.name for output in model.graph.output if _is_float(infos, output.name)}
    for node in reversed(model.graph.node):
        if node.op_type not in _STEPPED and reached.intersection(node.output):
            reached |= {name for name in operands(node) if _is_float(infos, name)}
    return reached


def _is_float(infos: dict[str, onnx.ValueInfoProto], name: str) -> bool:
    """Whether it is a float, or of a type that is not known, as constants' are."""
    return name not in infos or infos[name].type.tensor_type.elem_type in (*_FLOATS, 0)
