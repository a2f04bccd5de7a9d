"""The function face: a plan as one traced TensorFlow function, for conversion."""

from typing import Any

from edgepress.translate.functions import apply_step
from edgepress.translate.plan import Plan
from edgepress.translate.tensorflow_setup import tf


def concrete_function(plan: Plan, batch: int = 1) -> Any:
    """A concrete function with one input (batch, *plan.input_shape) named `input`, and one output.

    Traced without autograph, which would rewrite the closures over the plan's constants.
    """

    def network(value: Any) -> Any:
        tensors = {plan.input: value}
        for step in plan.steps:
            tensors[step.output] = apply_step(step, [tensors[name] for name in step.inputs])
        return tensors[plan.output]

    signature = [tf.TensorSpec((batch, *plan.input_shape), tf.float32, name="input")]
    return tf.function(network, autograph=False, input_signature=signature).get_concrete_function()
