"""The tables of our own networks, one for each task, and the bounds that their rows have to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.zoo.own.network import Network, Section
from tests.zoo.table import MEAN_STEPS, ORACLE_DIFF, TOP1

MAX_ABS_DIFF = 1e-5

HEADING = "# Networks of our own"

_INTRODUCTION = """
{heading}

{total} small networks, in the forms in which their fields write them, for what no classifier has: several
inputs and outputs of any type, states, tokens, masks, sizes that stay open, branches and loops. Weights are
random, scaled so that the outputs of each layer have variance 1. {kept} keep all bounds.

- `from` is which of PyTorch's exporters wrote the file, or that it was put together by hand.
- float32: as above, but at most {diff:g}, and integers and truth values equal; networks with open sizes run
  at three of them.
- int8: as above. `top-1` is of those with classes; what is not measured in int8 is listed with its reason.
- TensorFlow's converter, fed with the same plan, makes files that compute the same: of {same_float} in
  float32, of {same_int8} in int8.
"""

_HEAD = """
## {title}

| network | form | from | operators | max diff | top-1 | steps | float |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class OwnRow:
    """Results of one network as plain values, with `error` where it failed; int8 is None if not measured."""

    network: Network
    float32: Mapping[str, Any]
    int8: Mapping[str, Any] | None


def misses(row: OwnRow) -> list[str]:
    """Which bounds the row misses."""
    return _certain(row) + _int8_misses(row.int8 or {})


def surprises(row: OwnRow) -> list[str]:
    """Which bounds the row misses without an `int8_limit`, or that it has one and holds all."""
    if row.int8 is None or not row.network.int8_limit:
        return misses(row)
    return _certain(row) if _int8_misses(row.int8) else [*_certain(row), "its int8_limit"]


def _certain(row: OwnRow) -> list[str]:
    """The bounds that no reason excuses."""
    float32, int8 = row.float32, row.int8 or {}
    if "error" in float32:
        return [float32["error"]]
    found = [] if float32["max_abs_diff"] <= MAX_ABS_DIFF else ["max diff"]
    differs = (float32["oracle_diff"] or 0) > ORACLE_DIFF or int8.get("oracle_codes")
    return [*found, "TensorFlow's converter"] if differs else found


def _int8_misses(result: Mapping[str, Any]) -> list[str]:
    if "error" in result:
        return [result["error"]]
    found = ["top-1"] if result.get("top1") is not None and result["top1"] < TOP1 else []
    return [*found, "steps"] if result.get("mean_steps", 0) > MEAN_STEPS else found


def rendered(row: OwnRow) -> str:
    """The row as a line of its table; what misses its bound is bold."""
    network, missed = row.network, misses(row)
    cells = [network.name, network.about, _origin(network)]
    if "error" in row.float32:
        cells += [f"**{_plain(row.float32['error'])}**", *[""] * 4]
    else:
        cells += [
            str(row.float32["ops"]),
            _marked(f"{row.float32['max_abs_diff']:.1e}", "max diff" in missed),
        ]
        cells += _int8_cells(row.int8, missed)
    return f"| {' | '.join(cells)} |"


def document(sections: Sequence[Section], rows: Mapping[str, OwnRow]) -> str:
    """All tables, with what is not measured in int8 after each."""
    parts = [
        _INTRODUCTION.format(
            heading=HEADING,
            total=len(rows),
            kept=sum(not misses(row) for row in rows.values()),
            diff=MAX_ABS_DIFF,
            same_float=sum(row.float32.get("oracle_diff") is not None for row in rows.values()),
            same_int8=sum((row.int8 or {}).get("oracle_codes") is not None for row in rows.values()),
        )
    ]
    for section in sections:
        parts.append(_HEAD.format(title=section.title))
        parts += [f"{rendered(rows[network.name])}\n" for network in section.networks]
        parts.append(_listed("Not in int8", {each.name: each.no_int8 for each in section.networks}))
        limits = {each.name: each.int8_limit for each in section.networks}
        parts.append(_listed("Where int8 keeps not all bounds", limits))
    return "".join(parts)


def _listed(title: str, reasons: Mapping[str, str]) -> str:
    """Each reason once, with the names of the networks that have it."""
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            found.setdefault(reason, []).append(name)
    lines = [f"- {', '.join(names)}: {reason}\n" for reason, names in found.items()]
    return "".join([f"\n{title}:\n\n", *lines]) if lines else ""


def _origin(network: Network) -> str:
    return f"{network.exporter}, opset {network.opset}"


def _int8_cells(result: Mapping[str, Any] | None, missed: Sequence[str]) -> list[str]:
    if result is None:
        return [""] * 3
    if "error" in result:
        return [f"**{_plain(result['error'])}**", "", ""]
    top1 = "" if result["top1"] is None else _marked(f"{result['top1']:.2f}", "top-1" in missed)
    left = ", ".join(f"{count} {name}" for name, count in result["float_ops"].items())
    return [top1, _marked(f"{result['mean_steps']:.2f}", "steps" in missed), left or "none"]


def _marked(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _plain(text: str) -> str:
    return text.replace("|", "/")
