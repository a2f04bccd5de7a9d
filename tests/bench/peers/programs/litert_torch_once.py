"""`python litert_torch_once.py NETWORK.pt OUT.tflite`, in litert-torch's environment."""

import sys
from pathlib import Path

import litert_torch
import torch
from networks import SIZE, stored


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    net = litert_torch.to_channel_last_io(stored(source), args=[0])
    litert_torch.convert(net, (torch.zeros(1, SIZE, SIZE, 3),)).export(str(target))


if __name__ == "__main__":
    main()
