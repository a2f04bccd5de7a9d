"""What an ONNX model says of itself, as its `metadata_props`: entries of text by name.

    name, version, description     of the network; the version is a digest of all that made it
    input                          JSON: range of raw values, mean and std that the network scales them by,
                                   colour of images; or ranges, of several inputs by name
    labels                         JSON: the names of the classes, in the order of the logits
    output                         what the output means
    made_by                        JSON: the data, and the parameters of each stage, or what converted it

No commit is among them: a stage's output depends on what it declares alone, or two commits that differ in a
comment would give two models, and everything behind them would run again. The way back to commits is the
file itself: `dvc.lock` has the hash of each stage's model.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import onnx

from edgepress.files import parse_json

MADE_BY = "made_by"
ORDER = ("name", "version", "description", "author", "license", "input", "output", "labels", MADE_BY)

_DIGITS = 12
_LARGEST = 2**20
"""Bytes of all entries of a file that are looked at."""


def said(model: onnx.ModelProto) -> dict[str, str]:
    """The model's entries, as far as they are of a sensible size."""
    found, room = dict[str, str](), _LARGEST
    for entry in model.metadata_props:
        room -= len(entry.key) + len(entry.value)
        if room < 0:
            break
        if isinstance(entry.key, str) and isinstance(entry.value, str):  # protobuf gives bytes if not UTF-8
            found[entry.key] = entry.value
    return found


def say(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Give the model these entries in place of its own; without a version, it follows from what made it."""
    told = {key: text for key, text in entries.items() if text}
    if MADE_BY in told and "version" not in told:
        told["version"] = hashlib.sha256(told[MADE_BY].encode()).hexdigest()[:_DIGITS]
    first = [key for key in ORDER if key in told]
    del model.metadata_props[:]
    for key in (*first, *sorted(told.keys() - set(first))):
        model.metadata_props.add(key=key, value=told[key])


def classifier(
    data: str,
    classes: Sequence[str],
    limits: tuple[float, float] | Mapping[str, tuple[float, float]],
    scaling: tuple[Sequence[float], Sequence[float]],
    made_by: Mapping[str, Any],
) -> dict[str, str]:
    """What a network that takes raw images, or other inputs, and gives logits says of itself.

    Args:
        data: the name of the data set.
        classes: the names of its classes, none where it has none, or gives none.
        limits: between which raw values lie, of named inputs each.
        scaling: mean and standard deviation per channel with which the network itself scales them; empty if
            it does not.
        made_by: the data, and the parameters of the stages so far.
    """
    ranges: dict[str, Any] = {"range": limits}
    if isinstance(limits, Mapping):
        ranges = {"ranges": {name: list(each) for name, each in limits.items()}}
    known = {**ranges, "mean": _rounded(scaling[0]), "std": _rounded(scaling[1])}
    if data in COLOURED:
        known["color"] = "grayscale" if len(scaling[0]) == 1 else "rgb"
    made = plain(made_by)
    return {
        "name": f"{data} {made.get('model', {}).get('name', 'network')}",
        "input": as_text({key: value for key, value in known.items() if value}),
        "output": "logits; softmax makes probabilities" if classes else "",
        "labels": as_text(list(classes)) if classes else "",
        MADE_BY: as_text(made),
    }


COLOURED = ("digits", "image_folder")
"""Data sets of images whose channels are grey or red, green and blue."""


def _rounded(numbers: Sequence[float]) -> list[float]:
    """To the digits that float32 has."""
    return [float(f"{number:.7g}") for number in numbers]


def pass_on(
    made: onnx.ModelProto, source: onnx.ModelProto, stage: str, parameters: Mapping[str, Any]
) -> None:
    """Let what a stage made say what its source said, and the stage's own parameters."""
    entries = {key: text for key, text in said(source).items() if key != "version"}
    say(made, {**entries, MADE_BY: as_text({**values(entries, MADE_BY), stage: plain(parameters)})})


def values(entries: Mapping[str, str], key: str) -> dict[str, Any]:
    """The JSON object that an entry holds; empty where it holds none."""
    try:
        found = parse_json(entries.get(key, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def as_text(content: object) -> str:
    """A value as JSON, the same text for the same value."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters without the folders of files, which say nothing of the network."""
    return {key: _plain(value) for key, value in parameters.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, str) and "/" in value:
        return PurePath(value).name
    return value
