"""What requests act on, one after the other."""

from __future__ import annotations

import importlib
import math
import os
import time
from array import array
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgepress.devices.program.answers import Answer, RequestError
from edgepress.devices.program.attention import end_with_input
from edgepress.devices.program.bare import Bare
from edgepress.devices.program.machine import conditions, emulated, keep_to, machine, peak_memory_bytes
from edgepress.devices.program.models import Kernels, Model, Runtime
from edgepress.devices.program.onnx import OnnxModel, by_node
from edgepress.devices.program.tensors import Feed, blame_model, feed, joined, matched, show
from edgepress.devices.program.tflite import TfliteModel, beginning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgepress.devices.program.tensors import Array

_ALIKE = 0.05
"""Warm are bursts whose medians differ by no more than this share."""
_MOST_BYTES = 64 << 20
"""Of outputs that are held before they are written: a device has little memory."""
_SAME = 0.02
"""A batch gives what its samples give if no output is further off than this share of the outputs' range."""

RUNTIMES = {
    "tflite": Runtime("ai_edge_litert.interpreter", "ai-edge-litert", TfliteModel),
    "onnxruntime": Runtime("onnxruntime", "onnxruntime", OnnxModel),
}


class Session(Bare):
    """What the requests act on: a runtime, then a model, then samples."""

    runtimes: ClassVar[Mapping[str, Runtime]] = RUNTIMES
    verbs: ClassVar[tuple[str, ...]] = (
        *Bare.verbs, "load", "inputs", "time", "warm_up", "batch", "sustain", "rest", "clock",
        "conditions", "stats", "predict", "cuts", "time_cuts", "nodes",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._runtime: Runtime | None = None
        self._library: Any = None
        self._model: Model | None = None
        self._cuts = list[TfliteModel]()
        self._feeds = list[Feed]()
        self._count = 0
        self._batch = 1
        self._idle_memory = 0

    def start(self, runtime: str, cpus: list[int] | None = None, attended: bool = False) -> Answer:
        """Import a runtime, in a process that keeps to these CPUs."""
        if attended:
            end_with_input()
        if cpus is not None:
            keep_to(cpus)
        if runtime not in self.runtimes:
            known = ", ".join(self.runtimes)
            raise RequestError("request", f"runtime is {runtime!r}; expected one of: {known}")
        self._runtime = self.runtimes[runtime]
        try:
            self._library = importlib.import_module(self._runtime.module)
        except ImportError as error:
            raise RequestError(
                "runtime", f"{self._runtime.distribution} cannot be imported: {error}"
            ) from error
        self._idle_memory = peak_memory_bytes()
        return {"pid": os.getpid()}

    def load(
        self,
        model: str,
        threads: int,
        kernels: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Make a model ready to run; `load_ms` is the time that takes."""
        if self._runtime is None:
            raise RequestError("request", "load before start")
        with blame_model():
            self._model = self._runtime.model(self._library, model, threads, Kernels(**(kernels or {})))
        load_ns = self._model.load_ns
        return {"load_ms": None if load_ns is None else load_ns / 1e6, **ends(self._model)}

    def inputs(self, files: Mapping[str, str], orders: Mapping[str, list[int]] | None = None) -> Answer:
        """Open samples (N, …), memory-mapped, and settle how their axes map to the model's."""
        inputs = self._loaded().inputs
        names = matched(inputs, list(files))
        opened = [np.load(files[name], mmap_mode="r", allow_pickle=False) for name in names]
        self._count = len(opened[0])
        if any(len(each) != self._count or not self._count for each in opened):
            counts = ", ".join(
                f"{files[name]}: {len(each)}" for name, each in zip(names, opened, strict=True)
            )
            raise RequestError("request", f"expected the same number of samples in all, and some: {counts}")
        self._feeds = [
            feed(tensor, samples, None if orders is None else orders.get(name, [*range(len(tensor.dims))]))
            for tensor, samples, name in zip(inputs, opened, names, strict=True)
        ]
        if any(each.whole for each in self._feeds):
            self._batch = 1
        else:
            self._batch = max((each.tensor.dims[0] or 1 for each in self._feeds), default=1)
        with blame_model():
            self._loaded().fit(self._tensors(0, self._batch))
        return {"samples": self._count}

    def time(self, runs: int) -> Answer:
        """Run the first sample, or batch, over and over, and report how long each run took."""
        run, tensors, clock = self._loaded().run, self._tensors(0, self._batch), time.perf_counter_ns
        durations = []
        with blame_model():
            for _ in range(runs):
                begin = clock()
                run(tensors)
                durations.append(clock() - begin)
        return {"durations_ns": durations}

    def warm_up(self, burst: Mapping[str, float]) -> Answer:
        """Run bursts until three in a row have medians that are alike, or the limit has passed."""
        medians, end = list[float](), time.monotonic() + burst["limit_s"]
        while time.monotonic() < end:
            medians.append(float(np.median(self.time(int(burst["runs"]))["durations_ns"])))
            last = medians[-3:]
            if len(last) == 3 and max(last) <= (1 + _ALIKE) * min(last):
                return {"steady": True}
        return {"steady": False}

    def batch(self, size: int) -> Answer:
        """Take batches from now on, if the model gives for them what it gives for their samples alone."""
        model = self._loaded()
        if self._batch > 1 or any(each.whole or not each.tensor.dims for each in self._feeds):
            return {
                "fault": "its batch is built in: not each sample has all axes of the inputs but the first"
            }
        with blame_model():
            rows = [model.run(self._tensors(index)) for index in range(size)]
        try:
            model.resize(size)
            batched = model.run(self._tensors(0, size))
        except (ValueError, RuntimeError) as error:
            return {"fault": f"its batch is built in: {' '.join(str(error).split())[:200]}"}
        for together, *ones in zip(batched, *rows, strict=True):
            alone = joined(ones).astype(np.float64)
            if together.shape != alone.shape:
                return {"fault": f"its batch is built in: {size} inputs give {show([*together.shape])}"}
            if np.abs(together - alone).max(initial=0) > _SAME * (np.ptp(alone) if alone.size else 0):
                return {"fault": f"{size} inputs at a time give other outputs than one by one"}
        self._batch = size
        return {"fault": None}

    def sustain(self, seconds: float) -> Answer:
        """Run without pause, and tell the medians of the first and the last tenth of the time."""
        run, tensors, clock = self._loaded().run, self._tensors(0, self._batch), time.perf_counter_ns
        tenths, count = (array("q"), array("q")), 0
        since, begin = time.time(), clock()
        early, late, end = (begin + int(share * seconds * 1e9) for share in (0.1, 0.9, 1))
        now = begin
        with blame_model():
            while now < end or not all(tenths):
                run(tensors)
                last, now, count = now, clock(), count + 1
                if last <= early or last >= late:
                    tenths[last >= late].append(now - last)
        until = time.time()
        first, last_tenth = (float(np.median(tenth)) / 1e6 for tenth in tenths)
        times = {"first_p50_ms": first, "last_p50_ms": last_tenth}
        return {"inferences": count, "begin_s": since, "end_s": until, **times}

    def rest(self, seconds: float) -> Answer:
        """Do nothing for so long."""
        since = time.time()
        time.sleep(seconds)
        return {"begin_s": since, "end_s": time.time()}

    def clock(self) -> Answer:
        """The device's own clock."""
        return {"now_s": time.time()}

    def conditions(self) -> Answer:
        """What changes how fast the device is."""
        return conditions()

    def stats(self) -> Answer:
        """Memory so far, and what ran where."""
        assert self._runtime is not None
        return {
            "peak_memory_bytes": peak_memory_bytes(),
            "idle_memory_bytes": self._idle_memory,
            "runtime_version": version(self._runtime.distribution),
            "op_resolver": self._loaded().op_resolver(),
            "machine": machine(),
            "emulated": emulated(),
        }

    def predict(self, outputs: list[str], first: int = 0, seconds: float = math.inf) -> Answer:
        """Write the outputs of as many samples as time and memory allow, of one inference at least."""
        run, batch, held = self._loaded().run, self._batch, 0
        rows: list[list[Array]] = []
        end = time.monotonic() + seconds
        with blame_model():
            for index in range(first, self._count, batch):
                rows.append(run(self._tensors(index, batch)))
                held += sum(row.nbytes for row in rows[-1])
                if time.monotonic() > end or held > _MOST_BYTES:
                    break
        done = min(len(rows) * batch, self._count - first)
        for path, *own in zip(outputs, *rows, strict=True):
            values = joined(own)
            self._write(path, values[:done] if len(values) == len(rows) * batch else values)
        return {"predicted": done, "samples": self._count}

    def _write(self, path: str, values: Array) -> None:
        try:
            np.save(path, values, allow_pickle=False)
        except OSError as error:
            raise RequestError("disk", f"its outputs cannot be written to {path}: {error}") from error

    def cuts(
        self,
        model: str,
        threads: int,
        places: Mapping[str, int],
        ends: list[Mapping[str, Any]],
        scratch: str,
        kernels: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Load beginnings of a `.tflite`, by way of a file; the first of them is the model that counts."""
        content, self._cuts = Path(model).read_bytes(), []
        for end in ends:
            try:
                Path(scratch).write_bytes(beginning(content, places, end["operators"], end["outputs"]))
            except OSError as error:
                raise RequestError("disk", f"{scratch} cannot be written: {error}") from error
            with blame_model():
                computes = Kernels(**(kernels or {}))
                cut = TfliteModel(self._library, scratch, threads, computes, beginning=True)
            self._cuts.append(cut)
            Path(scratch).unlink()
        self._model = self._cuts[0]
        return {"cuts": len(self._cuts)}

    def time_cuts(self, runs: int) -> Answer:
        """Invoke each with the first sample; first once more, in caches that the one before has filled."""
        tensors = self._tensors(0, self._batch)
        with blame_model():
            for cut in self._cuts:
                cut.fit(tensors)
            durations = [[cut.invoke_ns(tensors) for _ in range(runs + 1)][1:] for cut in self._cuts]
        return {"durations_ns": durations}

    def nodes(self) -> Answer:
        """What each node took in each run so far of a model that keeps a record."""
        model = self._loaded()
        if not isinstance(model, OnnxModel):
            raise RequestError("request", "only a model in onnxruntime keeps a record of its nodes")
        return by_node(model.recorded())

    def _loaded(self) -> Model:
        if self._model is None:
            raise RequestError("request", "no model is loaded")
        return self._model

    def _tensors(self, index: int, count: int = 1) -> list[Array]:
        """So many samples from one on, and from the first again, as the model takes them."""
        if not self._feeds:
            raise RequestError("request", "no inputs are open")
        indices = np.arange(index, index + count) % self._count
        return [each.take(indices) for each in self._feeds]


def ends(model: Model) -> Answer:
    """The inputs and outputs of a model, in its order."""
    ends = (("inputs", model.inputs), ("outputs", model.outputs))
    return {name: [each._asdict() for each in tensors] for name, tensors in ends}
