"""The networks as int8 in ONNX, which is what the pipeline's stage convert-tflite gets."""

from pathlib import Path

import numpy as np
import onnx

from edgepress.graph.normalise.normalise import load_normalised
from edgepress.standalone.quantising import quantised_as_asked
from edgepress.standalone.request import Request


def write_quantised(folder: Path, network: str) -> None:
    """Write `NETWORK.int8.onnx` beside `NETWORK.onnx`, with ranges of the images in `calibration.npy`."""
    calibration, source = folder / "calibration.npy", folder / f"{network}.onnx"
    request = Request(source, folder / "int8.tflite", quant="int8", calibration=calibration)
    images = np.load(calibration)
    model = quantised_as_asked(request, load_normalised(source), images, _unsaid, _unsaid)
    onnx.save(model, folder / f"{network}.int8.onnx")


def _unsaid(line: str) -> None:
    pass
