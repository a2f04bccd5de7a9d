"""Both faces of the translator against ONNX Runtime, operator by operator."""

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgepress.errors import UnsupportedModelError
from edgepress.translate.planner import make_plan
from tests.networks import (
    Graph,
    assert_close,
    assert_faces_agree,
    inputs_for,
    run_function,
    run_keras,
    run_onnx,
    single,
    stored,
    tensorflow,
)

INT = np.int64
RANDOM = np.random.default_rng(7)


def random(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def steps(model: onnx.ModelProto) -> list[str]:
    return [step.op for step in make_plan(model).steps]


CONVOLUTIONS = {
    "1x1": ((5, 4, 1, 1), {}),
    "3x3 valid": ((5, 4, 3, 3), {}),
    "no bias": ((5, 4, 3, 3), {"bias": False}),
    "same": ((5, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    "unequal kernel": ((5, 4, 1, 3), {"pads": [0, 1, 0, 1]}),
    "strided, as torch pads": ((5, 4, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "unequal strides": ((5, 4, 3, 3), {"strides": [1, 2]}),
    "asymmetric pads": ((5, 4, 3, 3), {"pads": [0, 2, 1, 0]}),
    "wide pads": ((5, 4, 3, 3), {"pads": [3, 3, 3, 3]}),
    "SAME_UPPER": ((5, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "SAME_LOWER": ((5, 4, 2, 2), {"auto_pad": "SAME_LOWER"}),
    "auto_pad VALID": ((5, 4, 3, 3), {"auto_pad": "VALID", "strides": [2, 1]}),
    "dilated": ((5, 4, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "dilated unequally": ((5, 4, 3, 3), {"dilations": [1, 2]}),
    "groups": ((6, 2, 3, 3), {"group": 2}),
    "groups strided": ((6, 2, 3, 3), {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "depthwise": ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "depthwise strided": ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "depthwise dilated": ((4, 1, 3, 3), {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "depthwise unequal strides": ((4, 1, 3, 3), {"group": 4, "strides": [2, 1]}),
    "depthwise multiplier": ((12, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    "strided and dilated": ((5, 4, 2, 2), {"strides": [2, 2], "dilations": [2, 2]}),
}


@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name, size):
    shape, attributes = CONVOLUTIONS[name]
    attributes = dict(attributes)
    bias = random(shape[0]) if attributes.pop("bias", True) else None
    constants = [random(*shape)] + ([] if bias is None else [bias])
    assert_faces_agree(single("Conv", *constants, shape=(4, *size), **attributes))
