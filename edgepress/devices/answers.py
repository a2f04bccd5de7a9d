"""What the program may answer: a device may run anything in its place, or say something else in between.

Each answer is checked against the form that its request has, so that nothing behind it meets a value that is
missing, of another type, not a number or without bounds.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from edgepress.files import parse_json
from edgepress.text import shown

Check = Callable[[object], bool]

_LONGEST_TEXT = 1_000
_MOST = 2**53
_RANK = 16
_NAMES = 100_000


def parse_answer(line: str, verb: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The answer that a line holds to a request; that it failed, `error`, is one to each.

    Raises:
        ValueError: it is none; in one line.
    """
    answer = parse_json(line)
    if not isinstance(answer, dict):
        raise ValueError(f"no object, but {type(answer).__name__}")
    if "error" in answer:
        return {"error": str(answer["error"]), "kind": str(answer.get("kind"))}
    for key, (check, expected) in _ANSWERS[verb].items():
        if key not in answer:
            raise ValueError(f"no {key!r} in it; expected {expected}")
        if not check(answer[key]):
            raise ValueError(f"{key!r} is {shown(repr(answer[key]), 60)}; expected {expected}")
    _require_what_was_asked(verb, answer, arguments or {})
    return answer


def answered(answer: dict[str, Any]) -> dict[str, Any]:
    """The same, unless the request failed.

    Raises:
        ValueError: it did.
    """
    if "error" in answer:
        raise ValueError(shown(answer["error"]))
    return answer


def _require_what_was_asked(verb: str, answer: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    if verb == "time" and len(answer["durations_ns"]) != arguments["runs"]:
        raise ValueError(f"{len(answer['durations_ns'])} durations of {arguments['runs']} runs")
    if verb == "time_cuts" and any(len(each) != arguments["runs"] for each in answer["durations_ns"]):
        raise ValueError(f"not {arguments['runs']} durations for each cut")
    if verb == "cuts" and answer["cuts"] != len(arguments["ends"]):
        raise ValueError(f"{answer['cuts']} cuts of {len(arguments['ends'])}")
    if verb in ("sustain", "rest") and answer["end_s"] <= answer["begin_s"]:
        raise ValueError("it ended before it began")
    if verb == "nodes":
        nodes, runs = len(answer["nodes"]), len(answer["run_us"])
        if len(answer["durations_us"]) != runs or any(len(each) != nodes for each in answer["durations_us"]):
            raise ValueError(f"not a duration for each of {nodes} nodes in each of {runs} runs")


def _number(value: object, low: float = -_MOST, high: float = _MOST) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _above_zero(value: object) -> bool:
    return _number(value, math.ulp(0.0))


def _count(value: object, low: int = 0) -> bool:
    return isinstance(value, int) and _number(value, low)


def _from_one(value: object) -> bool:
    return _count(value, 1)


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list(check: Check, least: int = 0, most: int = _MOST) -> Check:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(check, value))


def _object(**checks: Check) -> Check:
    def holds(value: object) -> bool:
        return isinstance(value, dict) and all(
            key in value and fits(value[key]) for key, fits in checks.items()
        )

    return holds


def _fingerprint(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{12}", value) is not None


_MACHINE = _object(
    cpu=_text, architecture=_text, cores=_or_none(_count), system=_text, fingerprint=_fingerprint
)
_CONDITIONS: dict[str, Check] = {
    "cpus": _count,
    "governor": _or_none(_text),
    "frequency_mhz": _or_none(_number),
    "max_frequency_mhz": _or_none(_number),
    "temperature_c": _or_none(_number),
    "throttled": _or_none(_flag),
    "load": _or_none(_number),
}
_TENSOR = _object(
    name=_text,
    dims=_list(_or_none(_count), 0, _RANK),
    dtype=_text,
    scale=_or_none(_above_zero),
    zero_point=_or_none(lambda value: isinstance(value, int) and _number(value)),
)
_NODE = _object(name=_text, operator=_or_none(_text), shape=_list(_count, 0, _RANK))

_COUNT, _TIME, _TRUTH = "a count", "a number", "true or false"
_DURATIONS = "a list of durations above zero"

_ANSWERS: dict[str, dict[str, tuple[Check, str]]] = {
    "probe": {
        "machine": (_MACHINE, "a machine with cpu, architecture, cores, system and fingerprint"),
        "emulated": (_flag, _TRUTH),
        "conditions": (_object(**_CONDITIONS), "its clock, heat and load"),
        "system": (_or_none(_text), "a text"),
        "python": (_text, "a version"),
        "packages": (
            _object(**dict.fromkeys(("numpy", "ai-edge-litert", "onnxruntime"), _or_none(_text))),
            "the versions of packages",
        ),
        "memory_bytes": (_count, _COUNT),
        "disk_free_bytes": (_count, _COUNT),
    },
    "start": {"pid": (_from_one, "the number of a process")},
    "load": {
        "load_ms": (_or_none(_number), _TIME),
        "inputs": (_list(_TENSOR, 1, _NAMES), "tensors"),
        "outputs": (_list(_TENSOR, 1, _NAMES), "tensors"),
    },
    "inputs": {"samples": (_from_one, "a count from 1")},
    "time": {"durations_ns": (_list(_above_zero), _DURATIONS)},
    "warm_up": {"steady": (_flag, _TRUTH)},
    "batch": {"fault": (_or_none(_text), "a text or null")},
    "sustain": {
        "inferences": (_from_one, "a count from 1"),
        "begin_s": (_number, _TIME),
        "end_s": (_number, _TIME),
        "first_p50_ms": (_above_zero, "a number above zero"),
        "last_p50_ms": (_above_zero, "a number above zero"),
    },
    "rest": {"begin_s": (_number, _TIME), "end_s": (_number, _TIME)},
    "clock": {"now_s": (_number, _TIME)},
    "conditions": {
        key: (check, "as `edgepress device check` tells it") for key, check in _CONDITIONS.items()
    },
    "stats": {
        "peak_memory_bytes": (_count, _COUNT),
        "idle_memory_bytes": (_count, _COUNT),
        "runtime_version": (_text, "a version"),
        "op_resolver": (_text, "a text"),
        "machine": (_MACHINE, "a machine with cpu, architecture, cores, system and fingerprint"),
        "emulated": (_flag, _TRUTH),
    },
    "predict": {"predicted": (_from_one, "a count from 1"), "samples": (_from_one, "a count from 1")},
    "cuts": {"cuts": (_count, _COUNT)},
    "time_cuts": {"durations_ns": (_list(_list(_above_zero)), "lists of durations above zero")},
    "nodes": {
        "nodes": (_list(_NODE, 0, _NAMES), "nodes with name, operator and shape"),
        "durations_us": (_list(_list(_count)), "lists of durations"),
        "run_us": (_list(_count), "a list of durations"),
    },
    "lacking": {"operators": (_list(_text, 0, _NAMES), "names of operators")},
    "allocations": {"arena_bytes": (_count, _COUNT)},
}
"""By request: what its answer must hold, and how that is called."""
