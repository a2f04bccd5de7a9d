"""`edgepress inspect`: from a file's name to its report."""

import json
from dataclasses import replace
from pathlib import Path

from edgepress.errors import ArtifactError
from edgepress.inspection.commits import commit_of
from edgepress.inspection.report import Report, render


def inspect(path: Path) -> Report:
    """Report on a `.onnx` or `.tflite`; the name's ending says which it is.

    Raises:
        ArtifactError: another ending, or the file is absent or not what its name says.
        UnsupportedModelError: an ONNX model that this project cannot read.
    """
    if path.suffix == ".onnx":
        from edgepress.inspection.onnx_model import inspect_onnx

        return inspect_onnx(path)
    if path.suffix == ".tflite":
        from edgepress.inspection.tflite import inspect_tflite

        return inspect_tflite(path)
    raise ArtifactError(
        f"{path} ends in {path.suffix or 'nothing'!r}; expected a name ending in .onnx or .tflite"
    )


def describe(path: Path, as_json: bool, operators: bool = False, commit: bool = False) -> str:
    """The report as JSON, or as text, with a line for each of the operators if asked for.

    With `commit` it tells the commit that made the file, if the repository of the current folder knows it.
    """
    report = inspect(path)
    if commit and (found := commit_of(path)):
        report = replace(report, about={**report.about, "commit": found})
    return json.dumps(report.as_json(), indent=2) if as_json else render(report, operators)
