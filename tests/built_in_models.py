"""Writes the built-in architectures as int8 and float32 `.tflite`: `python -m tests.built_in_models FOLDER`.

A process of its own, since it imports PyTorch and TensorFlow. The networks have random weights, and running
statistics of the images that they are calibrated on: <name>.tflite, <name>_float.tflite, images.npy.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from tests import both_frameworks  # isort: skip

from edgepress.architectures.registry import build
from edgepress.compress.quantisation.registry import Sources, quantiser
from edgepress.config.convert import Nhwc
from edgepress.config.model import DsCnn, Mlp, MobileNetV1, ModelConfig, ResNet8
from edgepress.config.quant import Calibration, Int8
from edgepress.convert.registry import convert_pair
from edgepress.training.export import export
from edgepress.training.normalised import Normalised
from edgepress.translate.tensorflow_setup import configure

assert both_frameworks

NETWORKS: dict[str, ModelConfig] = {
    "resnet8": ResNet8("", 16),
    "mobilenet_v1": MobileNetV1("", 0.25),
    "ds_cnn": DsCnn("", 64, 4),
    "mlp": Mlp("", (128, 128)),
}
SHAPE, CLASSES, SAMPLES = (1, 32, 32), 10, 32
INT8 = Int8(per_channel=True, calibration=Calibration("minmax", SAMPLES, 2048, 99.99))


def write(folder: Path, name: str, images: np.ndarray) -> None:
    torch.manual_seed(0)
    net = Normalised(build(NETWORKS[name], SHAPE, CLASSES), (127.5,), (64.0,))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # else the signal fades from layer to layer
    with torch.no_grad():
        net.train()(torch.from_numpy(images))
    model = export(net, SHAPE)
    quantised = quantiser(INT8)(model, INT8, Sources(lambda _: images, no_tuning, 0))
    converted = convert_pair(quantised, model, Nhwc("auto"), images)
    converted.candidate.save(folder / f"{name}.tflite")
    converted.baseline.save(folder / f"{name}_float.tflite")


def no_tuning() -> None:
    raise AssertionError("quantisation after training has no business with training data")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    configure(seed=0, threads=1)
    coarse = np.random.default_rng(0).integers(0, 256, (SAMPLES, 1, 4, 4))
    pictures = np.kron(coarse, np.ones((8, 8))).astype(np.float32)  # (SAMPLES, *SHAPE)
    np.save(target / "images.npy", pictures.astype(np.uint8))
    for each in NETWORKS:
        write(target, each, pictures)
