"""The function face: a plan as one traced TensorFlow function, for conversion."""

from contextlib import nullcontext
from typing import Any

from edgepress.translate.functions import apply_step
from edgepress.translate.origins import scope, tells_node
from edgepress.translate.plan import Entry, Plan
from edgepress.translate.tensorflow_setup import tf


def concrete_function(plan: Plan, batch: int = 1) -> Any:
    """A concrete function of the plan's inputs, stored as the plan says, with open batches set to `batch`.

    One input is named `input`, several `input_0`, `input_1` and so on; the result is one tensor or a list.
    Where there are transposes, names tell the ONNX nodes. Traced without autograph, which would rewrite the
    closures over the plan's constants.
    """
    named = any(map(tells_node, plan.steps))

    def network(*values: Any) -> Any:
        tensors = {entry.name: value for entry, value in zip(plan.entries, values, strict=True)}
        for step in plan.steps:
            with tf.name_scope(scope(step)) if named else nullcontext():
                tensors[step.output] = apply_step(step, [tensors[name] for name in step.inputs])
        outputs = [tensors[name] for name in plan.outputs]
        return outputs if len(outputs) > 1 else outputs[0]

    signature = [_specification(entry, index, plan, batch) for index, entry in enumerate(plan.entries)]
    return tf.function(network, autograph=False, input_signature=signature).get_concrete_function()


def _specification(entry: Entry, index: int, plan: Plan, batch: int) -> Any:
    shape = [batch if size is None else size for size in entry.shape]
    name = "input" if len(plan.entries) == 1 else f"input_{index}"
    return tf.TensorSpec(shape, tf.as_dtype(entry.dtype), name=name)
