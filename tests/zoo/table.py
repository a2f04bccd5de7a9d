"""The table of architectures, and the bounds that its rows have to keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.zoo.architectures import FLOAT_LIMITS, INT8_LIMITS, Architecture

MAX_ABS_DIFF, TOP1, MEAN_STEPS = 1e-5, 0.99, 1.0
ORACLE_DIFF = 1e-6

_INTRODUCTION = """\
# Architectures

{total} networks of torchvision and timm, of {families} families, with random weights, real BatchNormalization
statistics and a fitted classifier, as PyTorch's exporter writes them by default. Made by `make zoo`; {kept}
keep all bounds.

- float32: `max diff` is the largest difference between the `.tflite` in LiteRT and the ONNX network in ONNX
  Runtime, relative to the range of the output, on {float_inputs} crops of photographs: at most {diff:g}.
  `transposes` are those of the `.tflite` and those of the ONNX network, which are an upper bound.
- int8, after training with {calibration} calibration inputs: `top-1` is the share of {test} crops of other
  photographs' places for which LiteRT and ONNX Runtime say the same, at least {top1:g}; `steps` the mean
  difference of the outputs in steps of the output's scale, at most {steps:g}. `float` are the operators that
  stay in floats.
- TensorFlow's converter, fed with the same plan, makes files that compute the same: of {same_float} in
  float32 to {oracle_diff:g} of the range, of {same_int8} in int8 to the last bit. The others it refuses, or
  it widens ranges of theirs.

| architecture | family | size | operators | transposes | max diff | top-1 | steps | float |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Row:
    """Results of one architecture as plain values; None where not measured, with `error` where it failed."""

    architecture: Architecture
    float32: dict[str, Any] | None
    int8: dict[str, Any] | None


def misses(row: Row) -> list[str]:
    """Which bounds the row misses."""
    float32 = [] if row.float32 is None else _float_misses(row.float32)
    return float32 + _of_oracle(row) + ([] if row.int8 is None else _int8_misses(row.int8))


def surprises(row: Row) -> list[str]:
    """Which bounds the row misses without a reason in FLOAT_LIMITS or INT8_LIMITS, or reasons of no use."""
    return _float_surprises(row) + _of_oracle(row) + _int8_surprises(row)


def _float_surprises(row: Row) -> list[str]:
    """A reason excuses what LiteRT's own kernels compute within the bound."""
    missed = [] if row.float32 is None else _float_misses(row.float32)
    if row.float32 is None or row.architecture.name not in FLOAT_LIMITS:
        return missed
    undelegated = row.float32.get("undelegated_diff")
    if missed != ["max diff"]:
        return [*missed, "its FLOAT_LIMITS"]
    return [] if undelegated is not None and undelegated <= MAX_ABS_DIFF else missed


def _int8_surprises(row: Row) -> list[str]:
    missed = [] if row.int8 is None else _int8_misses(row.int8)
    if row.int8 is None or "error" in row.int8 or row.architecture.name not in INT8_LIMITS:
        return missed
    return [] if missed else ["its INT8_LIMITS"]


def _of_oracle(row: Row) -> list[str]:
    differs = (row.float32 or {}).get("oracle_diff") or 0, (row.int8 or {}).get("oracle_codes") or 0
    return ["TensorFlow's converter"] if differs[0] > ORACLE_DIFF or differs[1] else []


def _float_misses(result: dict[str, Any]) -> list[str]:
    if "error" in result:
        return [result["error"]]
    missed = [] if result["max_abs_diff"] <= MAX_ABS_DIFF else ["max diff"]
    return missed if result["transposes"] <= result["asked"] else [*missed, "transposes"]


def _int8_misses(result: dict[str, Any]) -> list[str]:
    if "error" in result:
        return [result["error"]]
    missed = [] if result["top1"] >= TOP1 else ["top-1"]
    return missed if result["mean_steps"] <= MEAN_STEPS else [*missed, "steps"]


def rendered(row: Row) -> str:
    """The row as a line of the table; what misses its bound is bold."""
    a = row.architecture
    cells = [a.name, a.family, str(a.size), *_float_cells(row.float32), *_int8_cells(row.int8)]
    return f"| {' | '.join(cells)} |"


def document(rows: Sequence[Row]) -> str:
    """The whole document."""
    from tests.zoo.measure import CALIBRATION, FLOAT_TEST, TEST

    head = _INTRODUCTION.format(
        total=len(rows),
        families=len({row.architecture.family for row in rows}),
        kept=sum(not misses(row) for row in rows),
        float_inputs=FLOAT_TEST,
        diff=MAX_ABS_DIFF,
        calibration=CALIBRATION,
        test=TEST,
        top1=TOP1,
        steps=MEAN_STEPS,
        oracle_diff=ORACLE_DIFF,
        same_float=sum((row.float32 or {}).get("oracle_diff") is not None for row in rows),
        same_int8=sum((row.int8 or {}).get("oracle_codes") is not None for row in rows),
    )
    return head + "".join(f"{rendered(row)}\n" for row in rows) + _reasons(rows) + _limits(rows)


def _float_cells(result: dict[str, Any] | None) -> list[str]:
    if result is None:
        return [""] * 3
    if "error" in result:
        return [f"**{_plain(result['error'])}**", "", ""]
    missed = _float_misses(result)
    return [
        str(result["ops"]),
        _marked(f"{result['transposes']} of {result['asked']}", "transposes" in missed),
        _marked(f"{result['max_abs_diff']:.1e}", "max diff" in missed),
    ]


def _int8_cells(result: dict[str, Any] | None) -> list[str]:
    if result is None:
        return [""] * 3
    if "error" in result:
        return [f"**{_plain(result['error'])}**", "", ""]
    missed = _int8_misses(result)
    left = ", ".join(f"{count} {name}" for name, count in result["float_ops"].items())
    return [
        _marked(f"{result['top1']:.2f}", "top-1" in missed),
        _marked(f"{result['mean_steps']:.2f}", "steps" in missed),
        left or "none",
    ]


def _reasons(rows: Sequence[Row]) -> str:
    """Why operators stay float, where the measurements tell, each once."""
    reasons: dict[str, str] = {}
    for row in rows:
        reasons.update((row.int8 or {}).get("why", {}))
    if not reasons:
        return ""
    lines = [f"- {operator}: {reason}" for operator, reason in sorted(reasons.items())]
    return "\n".join(["", "Why operators stay in floats:", "", *lines, ""])


def _limits(rows: Sequence[Row]) -> str:
    """Why float32, or int8, keeps not all bounds."""
    told = ""
    for form, limits in (("float32", FLOAT_LIMITS), ("int8", INT8_LIMITS)):
        names = [row.architecture.name for row in rows if row.architecture.name in limits]
        lines = [f"- {name}: {limits[name]}" for name in names]
        told += "\n".join(["", f"Where {form} keeps not all bounds:", "", *lines, ""]) if lines else ""
    return told


def _marked(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _plain(text: str) -> str:
    return text.replace("|", "/")
