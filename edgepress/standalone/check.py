"""Whether a converted file computes what the file that it was made of does: `--check`."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgepress.errors import ConversionError
from edgepress.graph.formats import INTEGERS, NumberFormat
from edgepress.measure.signal import Signal, worst
from edgepress.standalone.request import MIN_SNR_DB
from edgepress.text import shown

INTEGERS_DB = 20.0
"""Of integer outputs 99 of 100 elements have to be equal: where two are close, rounding decides."""

AS_IT_CAME_DB = 20.0
"""Of a file in integers already: its integers are taken over, so that only steps of rounding differ."""


@dataclass(frozen=True)
class Check:
    """What a comparison with ONNX Runtime found.

    Attributes:
        source: the file that the model was made of.
        inputs: with which inputs, in words.
        drawn: whether these were drawn and not given.
        form: the number format of the result.
        min_snr_db: the bound that the user set, None for that of the number format.
        outputs: each output by name, against the file's network.
        in_form: the same against the network in its new number format in ONNX; empty if it has no new one.
    """

    source: str
    inputs: str
    drawn: bool
    form: NumberFormat
    min_snr_db: float | None
    outputs: Mapping[str, Signal]
    in_form: Mapping[str, Signal]

    def bound_db(self, signal: Signal) -> float:
        """The ratio that an output has to reach."""
        if self.min_snr_db is not None:
            return self.min_snr_db
        bound = MIN_SNR_DB[self.form] if self.in_form or self.form not in INTEGERS else AS_IT_CAME_DB
        return min(bound, INTEGERS_DB) if signal.integer else bound

    @property
    def passed(self) -> bool:
        """Whether each output reaches its bound, and at least one differs from input to input."""
        return not self._beyond() and self._told_apart()

    def _beyond(self) -> dict[str, Signal]:
        return {name: one for name, one in self.outputs.items() if one.snr_db < self.bound_db(one)}

    def _told_apart(self) -> bool:
        return any(signal.varies for signal in self.outputs.values())

    def refuse(self, target: str) -> None:
        """Raise what is wrong with `target`, which is not written then.

        Raises:
            ConversionError: an output is beyond its bound, or nothing could be checked.
        """
        if beyond := self._beyond():
            name, signal = worst(beyond)
            raise ConversionError(
                f"{target} is not written: its output {shown(name)!r} is too far from {self.source}, "
                f"{_told(name, signal)}; expected at least {self.bound_db(signal):g} dB. "
                f"Look at the other figures, {self._remedy()}, or set another bound with --min-snr"
            )
        if not self._told_apart():
            other = "give real ones with --calibration" if self.drawn else "give others"
            raise ConversionError(
                f"{target} is not written: it is not checked, since {self.source} gives the same for all "
                f"of the {self.inputs}; {other}, or convert without --check"
            )

    def _remedy(self) -> str:
        if not self.in_form:
            return "try another --converter"
        if self.form in INTEGERS:
            return "give --calibration inputs as the application has them, try another --quant"
        return "convert without --quant"

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        outputs = {
            name: {**asdict(one), "bound_db": self.bound_db(one)} for name, one in self.outputs.items()
        }
        in_form = {name: asdict(each) for name, each in self.in_form.items()}
        about = {"source": self.source, "inputs": self.inputs, "drawn": self.drawn, "passed": self.passed}
        return {**about, "outputs": outputs, "in_form": in_form}

    def lines(self) -> Iterator[str]:
        """The figures, as text for people."""
        yield f"compared with {shown(self.source)} in ONNX Runtime on {self.inputs}, signal to noise:"
        for name, signal in self.outputs.items():
            short = signal.snr_db < self.bound_db(signal)
            yield f"  {_told(name, signal)}" + (f"; below {self.bound_db(signal):g} dB" if short else "")
            if not signal.varies:
                yield f"    {shown(name)} is the same for all of these inputs, so that this says little"
            elif signal.drowned:
                yield f"    what differs in {shown(name)} from input to input is less than the noise"
        if self.in_form:
            yield f"compared with the same as {self.form} in ONNX:"
            yield from (f"  {_told(name, signal)}" for name, signal in self.in_form.items())


def _told(name: str, signal: Signal) -> str:
    where = f"{shown(name)}{signal.part}"
    if not signal.alike:
        return f"{where}: NaN or infinity in one of the two alone"
    if math.isinf(signal.snr_db) and signal.snr_db > 0:
        ratio = "equal"
    elif signal.integer:
        ratio = f"{1 - 10 ** (-signal.snr_db / 10):.2%} of the integers equal ({signal.snr_db:.1f} dB)"
    else:
        ratio = f"{signal.snr_db:.1f} dB"
    top1 = "" if signal.top1 is None else f", same class for {signal.top1:.1%}"
    return f"{where}: {ratio}, largest difference {signal.max_abs_diff:.2e}{top1}"
