"""Composes and checks params.yaml, shows results, converts and inspects single files, sets up devices.
To run the pipeline itself: dvc repro, or dvc exp run.
"""

import argparse
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgepress.cli import compare, completion, device, profile
from edgepress.cli.output import OUTPUT, add_json, say, tell
from edgepress.cli.parsing import Commands, Parser, Version, general_options
from edgepress.standalone.request import CONVERTERS, IO_DTYPES, MIN_SNR_DB, QUANTS, Request

CHECK = (
    "compare each output with the file's network in ONNX Runtime, list the operators, and write nothing "
    "(exit status 1) where one is too far"
)
KEEP_SHAPE = "keep the file's axes in all inputs and outputs; else images get their channels last"
BATCH = "the number of samples, where the file leaves it open"
INPUT_SHAPE = (
    "sizes of an input that the file leaves open, e.g. image=1,3,224,224; ? keeps one; may be repeated"
)
ALLOW_CUSTOM = "write custom operators, which the file's user brings, for what TFLite has no operator for"
OUTPUTS = "tensors at which the network is to end, in place of its own outputs"
LAYOUT = "how the .tflite has an input or output: nhwc, nchw or as-is, as the file has it; may be repeated"
NO_METADATA = "leave out of the .tflite what it is, takes and gives, and what made it"
OPERATORS = "list each operator with the ONNX nodes that it does the work of"
BOUND = "the signal to noise that --check demands of each output; default " + ", ".join(
    f"{db:g} for {form}" for form, db in MIN_SNR_DB.items()
)


def run_command(arguments: Sequence[str]) -> None:
    """Do what a command line says.

    Raises:
        EdgepressError: what the user can mend; a `UsageError` if that is the command line.
    """
    options = command_line().parse_args(arguments)
    OUTPUT.set(options)
    options.run(options)


def command_line() -> Parser:
    """The grammar of the command line; `run` of what it parses does it."""
    general = general_options()
    parser = Parser(prog="edgepress", description=__doc__, parents=[general])
    parser.add_argument("--version", action=Version)
    commands = Commands(parser.add_subparsers(required=True, metavar="command"), general)
    check = commands.add(
        "check", "prove that params.yaml is valid, and equals conf/ composed or is a variant of it"
    )
    check.set_defaults(run=_check)
    compose = commands.add("compose", "compose conf/ into params.yaml, as dvc exp run does")
    compose.add_argument(
        "overrides", nargs="*", help="as after dvc exp run -S, e.g. quant=fp16 prune.sparsity=0.8"
    )
    compose.set_defaults(run=_compose)
    results = commands.add("results", "show what the last run measured")
    add_json(results)
    results.set_defaults(run=_results)
    compare.add(commands)
    _add_convert(commands)
    device.add(commands)
    profile.add(commands)
    inspect = commands.add("inspect", "tell what a .onnx or .tflite holds")
    inspect.add_argument("model", type=Path)
    inspect.add_argument("--operators", action="store_true", help=OPERATORS)
    add_json(inspect)
    inspect.set_defaults(run=_inspect)
    completion.add(commands)
    return parser


def _add_convert(commands: Commands) -> None:
    convert = commands.add("convert", "convert one ONNX file, from anywhere, to a .tflite")
    convert.add_argument("model", type=Path, help="a .onnx of opset 7 or newer")
    convert.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the .tflite to write"
    )
    convert.add_argument("--converter", choices=CONVERTERS, default="nhwc")
    convert.add_argument(
        "--quant", choices=QUANTS, default="none", help="int8, int16x8 and int4_weights need --calibration"
    )
    calibration = "real inputs, as the model takes them: .npz, .npy or a folder of .npy files"
    convert.add_argument("--calibration", type=Path, metavar="INPUTS", help=calibration)
    convert.add_argument(
        "--per-tensor",
        action="store_true",
        help="int8: one scale for each kernel, for less RAM on microcontrollers where dense layers are large",
    )
    convert.add_argument("--io-dtype", choices=IO_DTYPES, default="auto", help="auto: the network's")
    convert.add_argument("--batch", type=int, metavar="N", help=BATCH)
    convert.add_argument("--input-shape", action="append", default=[], metavar="NAME=SIZES", help=INPUT_SHAPE)
    convert.add_argument("--outputs", nargs="+", default=[], metavar="NAME", help=OUTPUTS)
    convert.add_argument("--allow-custom", action="store_true", help=ALLOW_CUSTOM)
    convert.add_argument("--keep-shape", action="store_true", help=KEEP_SHAPE)
    convert.add_argument("--layout", action="append", default=[], metavar="NAME=LAYOUT", help=LAYOUT)
    convert.add_argument("--no-metadata", action="store_true", help=NO_METADATA)
    convert.add_argument("--check", action="store_true", help=CHECK)
    convert.add_argument("--min-snr", type=float, metavar="DB", help=BOUND)
    add_json(convert)
    convert.set_defaults(run=_convert)


def _check(_: argparse.Namespace) -> None:
    from edgepress.config import agreement
    from edgepress.config.load import PARAMS
    from edgepress.config.unseen import show_to_git

    show_to_git()
    differing = agreement.check()
    for each in differing:
        print(each)
    what = "a variant of conf/, composed with other values or edited" if differing else "equals conf/"
    print(f"{PARAMS} is valid and {what}")


def _compose(options: argparse.Namespace) -> None:
    from edgepress.config import composition, validation
    from edgepress.config.load import PARAMS
    from edgepress.config.unseen import show_to_git
    from edgepress.writing import atomic

    text = composition.compose(options.overrides)
    with atomic(PARAMS) as temporary:
        temporary.write_text(text, encoding="utf-8")
        validation.validate(temporary)
    show_to_git()
    print(f"wrote {PARAMS}")


def _results(options: argparse.Namespace) -> None:
    from edgepress.config.load import load_max_drop
    from edgepress.report.results import figures, render

    tell(options, render(load_max_drop()), figures())


def _convert(options: argparse.Namespace) -> None:
    request = Request(
        source=options.model,
        target=options.output,
        converter=options.converter,
        quant=options.quant,
        per_tensor=options.per_tensor,
        calibration=options.calibration,
        io_dtype=options.io_dtype,
        check=options.check,
        min_snr_db=options.min_snr,
        keep_shape=options.keep_shape,
        layouts=tuple(options.layout),
        metadata=not options.no_metadata,
        batch=options.batch,
        input_shapes=tuple(options.input_shape),
        outputs=tuple(options.outputs),
        allow_custom=options.allow_custom,
    )
    with _loading("edgepress.standalone.convert"):
        from edgepress.standalone.convert import convert

    outcome = convert(request, say)
    tell(options, outcome.text(), outcome.as_json())
    outcome.refuse()


def _inspect(options: argparse.Namespace) -> None:
    from edgepress.inspection.inspect import describe

    print(describe(options.model, options.json, options.operators, commit=True))


@contextmanager
def _loading(module: str) -> Iterator[None]:
    """Import a module, and what it imports, without Python's searches for garbage.

    Each goes through all that was ever defined, which takes an eighth of a conversion. Later ones leave out
    what is there now (`gc.freeze`).
    """
    if module in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
