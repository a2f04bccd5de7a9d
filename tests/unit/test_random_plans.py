"""What is written of plans drawn at random is sound, runs in LiteRT and TFLM, and computes what they say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, given, settings

from edgepress.convert.writer.table import write
from edgepress.translate.absorbing import absorbed
from edgepress.translate.plan import Entry, Plan, Step
from tests.networks import tensorflow
from tests.random_plans import plans

EXAMPLES = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def inputs(plan: Plan) -> np.ndarray:
    return np.random.default_rng(1).normal(size=plan.entries[0].shape).astype(np.float32)


def run(content: bytes, values: np.ndarray) -> list[np.ndarray]:
    """All outputs as numbers; LiteRT refuses what its schema's verifier does not take."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    scale, zero = entry["quantization"]
    if entry["dtype"] is np.int8:
        values = np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)
    interpreter.set_tensor(entry["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def expected(plan: Plan, values: np.ndarray) -> list[np.ndarray]:
    """The outputs in floats, fake quantisation included, step by step."""
    tf = tensorflow()
    from edgepress.translate.functions import apply_step

    tensors = {plan.entries[0].name: tf.constant(values)}
    for step in plan.steps:
        tensors[step.output] = apply_step(step, [tensors[name] for name in step.inputs])
    return [tensors[name].numpy() for name in plan.outputs]


@given(plan=plans(quantised=False))
@EXAMPLES
def test_float_plans_compute_what_their_steps_do(plan):
    values = inputs(plan)
    for actual, wanted in zip(run(bytes(write(absorbed(plan))), values), expected(plan, values), strict=True):
        assert actual.shape == wanted.shape
        if np.isfinite(wanted).all():
            assert np.abs(actual - wanted).max() <= 1e-4 * max(np.abs(wanted).max(), 1)


@given(plan=plans(quantised=True))
@EXAMPLES
def test_plans_of_codes_run_whatever_their_scales(plan):
    """Each in both forms of its ends; numbers are told apart by their codes alone."""
    values = inputs(plan)
    for int8_io in (False, True):
        outputs = run(bytes(write(absorbed(plan), "int8", int8_io)), values)
        assert [output.shape for output in outputs] == [wanted.shape for wanted in expected(plan, values)]


_MICRO = """
import sys
from pathlib import Path
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tflite_micro import runtime

ran = 0
for path in sorted(Path(sys.argv[1]).glob("*.tflite")):
    print(path.name, file=sys.stderr, flush=True)
    try:
        interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=1 << 20)
        detail = interpreter.get_input_details(0)
        interpreter.set_input(np.zeros(detail["shape"], detail["dtype"]), 0)
        interpreter.invoke()
        interpreter.get_output(0)
        ran += 1
    except RuntimeError:  # it has no kernel
        pass
print(ran)
"""


def test_plans_of_codes_crash_no_microcontroller(tmp_path: Path) -> None:
    """TFLM runs those that it has kernels for; a crash would end the process."""
    pytest.importorskip("tflite_micro")

    @given(plan=plans(quantised=True))
    @EXAMPLES
    def save(plan: Plan) -> None:
        number = len(list(tmp_path.iterdir()))
        write(absorbed(plan), "int8", int8_io=True).save(tmp_path / f"{number:03d}.tflite")

    save()
    command = [sys.executable, "-c", _MICRO, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-300:]
    assert int(done.stdout.split()[-1]) >= 10


def test_codes_of_another_scale_are_rounded_as_onnx_rounds() -> None:
    """Half-way cases to even, whatever the quotient."""
    values = np.linspace(-128, 127, 256, dtype=np.float32).reshape(1, 16, 16, 1)
    for old, new in [(0.1, 0.2), (0.004, 0.3), (0.03, 0.04), (1 / 256, 1 / 128), (0.5, 0.1), (0.013, 0.017)]:
        steps = tuple(
            Step("fake_quant", (source,), name, name, {"scale": scale, "zero_point": 3, "dtype": "int8"})
            for source, name, scale in (("x", "a", old), ("a", "b", new))
        )
        plan = Plan((Entry("x", values.shape, (0, 1, 2, 3)),), ("b",), ((0, 1, 2, 3),), steps)
        (actual,) = run(bytes(write(plan, "int8", int8_io=True)), (values - 3) * np.float32(old))
        quotient = float(np.float32(old)) / float(np.float32(new))
        wanted = np.clip(np.rint((values.astype(np.float64) - 3) * quotient) + 3, -128, 127)
        assert len(np.unique(wanted)) > 2
        np.testing.assert_array_equal(actual, wanted)
