"""Every command that tells figures tells the same ones as JSON, which holds finite numbers alone."""

import argparse
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from edgepress.cli.commands import command_line
from tests.pipeline.project import Project

FLOAT, TFLITE = "models/export-onnx/model.onnx", "models/convert-tflite/model.tflite"
COMMANDS = {
    ("results",): [],
    ("compare",): ["HEAD"],
    ("convert",): [FLOAT, "-o", "made.tflite", "--check"],
    ("inspect",): [TFLITE],
    ("device", "check"): ["local"],
    ("profile",): [],
}
OTHERS = {("inspect",): [FLOAT]}
FIGURE = r"(?<![\d.:])0\.\d{4}(?!\d)"
"""Of four decimals; settings that a file's metadata quote have a colon before them."""


def test_the_figures_of_each_command_are_json(project: Project) -> None:
    assert set(_with_json(command_line())) == set(COMMANDS)
    for command, arguments in (*COMMANDS.items(), *OTHERS.items()):
        told = project.run("python", "-m", "edgepress", *command, *arguments, "--json", "-q")
        assert told.stderr == ""
        values = list(_numbers(json.loads(told.stdout, parse_constant=_refuse)))
        assert values
        assert all(math.isfinite(value) for value in values)
        if command != ("profile",):  # which measures anew
            text = project.run("python", "-m", "edgepress", *command, *arguments).stdout
            shown = {float(number) for number in re.findall(FIGURE, text)}
            assert shown <= {round(value, 4) for value in values}


def _with_json(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for action in parser._actions:
        if "--json" in action.option_strings:
            yield words
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from _with_json(command, (*words, name))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")
