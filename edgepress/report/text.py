"""Figures and tables as people read them."""

from collections.abc import Callable, Sequence

from edgepress.text import shown

ABSENT = "–"


def size(bytes_: float) -> str:
    """In kB or MB."""
    return f"{bytes_ / 1e3:.1f} kB" if bytes_ < 1e6 else f"{bytes_ / 1e6:.1f} MB"


def duration(milliseconds: float) -> str:
    """To the microsecond, as long as that means anything."""
    return f"{milliseconds:.3f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def decibels(ratio: float) -> str:
    """A ratio as the metrics have it, ±200 standing for one without end."""
    return "equal" if ratio >= _MOST_DB else f"{ratio:.1f} dB"


_MOST_DB = 200.0

FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("peak memory", "peak_memory_bytes", size),
    ("energy", "energy_uj", "{:,.1f} µJ".format),
    ("estimated time", "estimated_inference_ms", duration),
    ("estimated cycles", "estimated_cycles", "{:,.0f}".format),
    ("estimated SRAM", "estimated_sram_bytes", size),
    ("estimated DRAM", "estimated_dram_bytes", size),
    ("estimated flash", "estimated_flash_bytes", size),
)
"""What some devices tell of a model in `latency.json`: label, key, form."""


def show(value: float | None, form: Callable[[float], str]) -> str:
    """A figure, or that there is none."""
    return ABSENT if value is None else form(value)


def number(value: float | None, form: str) -> str:
    """As `show`, by a format such as `.4f`."""
    return show(value, lambda given: format(int(given) if form.endswith("d") else given, form))


def table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows as lines: as many columns as `left` says to the left, the others to the right."""
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    forms = [f"<{width}" if number < left else f">{width}" for number, width in enumerate(widths)]
    return "\n".join("  ".join(map(format, row, forms)) for row in rows)
