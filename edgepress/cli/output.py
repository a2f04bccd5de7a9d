"""How commands tell what they do and what came of it."""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepress.text import one_line


@dataclass
class Output:
    """How much this process tells: as options `-q` and `-v` say."""

    quiet: bool = False
    verbose: bool = False
    started: float = field(default_factory=time.monotonic)

    def set(self, options: argparse.Namespace) -> None:
        """Do as the options say."""
        self.quiet, self.verbose = getattr(options, "quiet", False), getattr(options, "verbose", False)
        if self.quiet:
            os.environ["TQDM_DISABLE"] = "1"  # which tqdm reads when it is imported


OUTPUT = Output()


def say(step: str) -> None:
    """Print a line of progress, on standard error."""
    if not OUTPUT.quiet:
        seconds = f"[{time.monotonic() - OUTPUT.started:6.1f} s] " if OUTPUT.verbose else ""
        print(f"{seconds}{one_line(step)}", file=sys.stderr, flush=True)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add option `--json` to a command that tells figures."""
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, for programs")


def tell(options: argparse.Namespace, text: str, values: Mapping[str, Any]) -> None:
    """Print a command's result: as text or, with `--json`, its values."""
    print(json.dumps(_finite(values), indent=2, allow_nan=False) if options.json else text)


def _finite(value: Any) -> Any:
    """The same without numbers that JSON lacks, such as the ratio over a noise of zero: they are null."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
