"""`python litert_quantizer_once.py FLOAT.tflite INPUTS.npy OUT.tflite`: int8 weights and activations.

Inputs (N, C, H, W) are what to calibrate with; the model takes them as (1, H, W, C).
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe


def main() -> None:
    source, inputs, target = sys.argv[1:]
    name = Interpreter(source).get_signature_list()["serving_default"]["inputs"][0]
    samples = np.load(inputs).transpose(0, 2, 3, 1)
    worker = quantizer.Quantizer(source, recipe.static_wi8_ai8())
    ranges = worker.calibrate({"serving_default": [{name: np.ascontiguousarray(s[None])} for s in samples]})
    Path(target).write_bytes(worker.quantize(ranges).quantized_model)


if __name__ == "__main__":
    main()
