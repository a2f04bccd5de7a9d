"""On PYTHONPATH of tests: where torchvision's compiled part does not fit PyTorch's build, its operators are
declared before it is imported, which else fails.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any


class Declaring:
    """Looks on while modules are found, and finds none itself."""

    library: Any = None

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name == "torchvision" and self.library is None:
            import torch

            if not _fits(torch):
                self.library = torch.library.Library("torchvision", "DEF")
                for operator in ("nms", "qnms"):
                    self.library.define(
                        f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                    )
        return None


def _fits(torch: Any) -> bool:
    spec = PathFinder.find_spec("torchvision")
    compiled = next(Path(spec.origin).parent.glob("_C*.so"), None) if spec and spec.origin else None
    try:
        torch.ops.load_library(str(compiled))
    except OSError:
        return False
    return True


sys.meta_path.insert(0, Declaring())
