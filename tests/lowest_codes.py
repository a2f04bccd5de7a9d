"""Runs `.tflite` files on the lowest codes and prints what they give, in one line of JSON.

A program of its own, since emulated boards run it, too: `python lowest_codes.py FILE…`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run_lowest(content: bytes) -> np.ndarray:
    """What a file gives for an input of codes of −128 alone."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(entry["index"], np.full(entry["shape"], -128, np.int8))
    interpreter.invoke()
    output: np.ndarray = interpreter.get_tensor(result["index"])
    return output


if __name__ == "__main__":
    print(json.dumps([run_lowest(Path(name).read_bytes()).reshape(-1).tolist() for name in sys.argv[1:]]))
