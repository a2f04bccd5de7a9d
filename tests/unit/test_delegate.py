"""Delegates by the path of a library: a small one of our own is compiled, loaded, and takes operators."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepress.devices.base import Measurement, Pair
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.local import LocalHost
from edgepress.devices.prediction import XNNPACK
from edgepress.errors import DeviceError
from edgepress.profiling.profile import profile

SOURCE = Path(__file__).parents[1] / "delegate" / "mean.c"
TRANSPOSE = 39
"""A builtin operator that the model does not have."""


def compiled(folder: Path, *options: str) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, cc, to make a delegate with")
    library = folder / "libmean.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", *options, SOURCE, "-o", library]
    subprocess.run(command, check=True)
    return str(library)


def measured(folder: Path, delegate: str | None, resolver: str = "xnnpack") -> Measurement:
    device = LinuxDevice(LocalHost(), replace(XNNPACK, delegate=delegate, op_resolver=resolver), None)
    pair = Pair("tflite", folder / "float.tflite", folder / "float.tflite")
    return device.measure(pair, folder / "images.npy")


def test_a_delegate_computes_the_operators_that_it_takes(small_models, tmp_path):
    delegated = measured(small_models, compiled(tmp_path))
    plain = measured(small_models, None, "builtin")
    assert delegated.op_resolver == "BUILTIN with libmean.so for 1 of 4 operators"
    np.testing.assert_allclose(delegated.candidate.output, plain.candidate.output, rtol=1e-4, atol=1e-5)
    assert delegated.candidate.output.std(axis=0).min() > 0


def test_what_a_delegate_takes_is_timed_beside_what_it_leaves(small_models, tmp_path):
    device = LinuxDevice(LocalHost(), replace(XNNPACK, delegate=compiled(tmp_path)), None)
    found = profile(device, "tflite", [small_models / "float.tflite"], None, runs=1)
    assert [row.operator for row in found.rows][-2:] == ["MEAN", "FULLY_CONNECTED"]
    assert found.candidate.total_ms > 0


def test_a_delegate_that_takes_nothing_is_refused(small_models, tmp_path):
    library = compiled(tmp_path, f"-DOPERATOR={TRANSPOSE}")
    message = f"delegate {library} took no operator of the model; change section"
    with pytest.raises(DeviceError, match=message):
        measured(small_models, library)
    device = LinuxDevice(LocalHost(), replace(XNNPACK, delegate=library), None)
    with pytest.raises(DeviceError, match=message):
        profile(device, "tflite", [small_models / "float.tflite"], small_models / "images.npy", runs=1)
