"""The program that a device runs: it loads one model, times it and predicts with it.

Self-contained: Python, numpy and the runtime asked for (`ai_edge_litert` or `onnxruntime`), nothing else
of this project. Copy the file to a device and start it with `python runner.py`. It reads one JSON object
per line from standard input and answers each with one line on standard output:

    {"do": "probe"}                                           → what the device is and has; needs neither
                                                                numpy nor a runtime
    {"do": "start", "runtime": "tflite" | "onnxruntime"}      imports the runtime → pid; with "cpus": [i, …],
                                                                keeps to those; with "attended": true, ends as
                                                                soon as its input does, whatever it is at
    {"do": "load", "model": path, "threads": n}               → load_ms, input, output; with "output": i, the
                                                                one of several outputs that counts; with
                                                                "kernels": {…}, what computes
    {"do": "inputs", "path": npy, "layout": "NCHW" | "NHWC" | "auto"}   the samples to run, stored as NCHW
    {"do": "time", "runs": n}                                 → durations_ns of n inferences of one sample
    {"do": "warm_up", "burst": {"runs": n, "limit_s": t}}     runs bursts until they are alike → steady
    {"do": "batch", "size": n}                                runs are of n samples from now on → fault, why
                                                                they cannot be, else null
    {"do": "sustain", "seconds": t}                           runs without pause → how often, from when to
                                                                when, p50 of the first and last tenth
    {"do": "rest", "seconds": t}                              does nothing → from when to when
    {"do": "clock"}                                           → now_s, of the device's clock, since 1970
    {"do": "conditions"}                                      → frequency, temperature, load, …
    {"do": "stats"}                                           → memory, versions, op resolver, machine
    {"do": "predict", "outputs": npy, "first": i, "seconds": t}   writes the outputs of samples from i on, (n,
                                                                classes) → predicted: n, all that are left or
                                                                as many as t allows
    {"do": "cuts", "model": path, "threads": n, "places": {…}, "ends": [{…}, …], "scratch": path}
                                                                loads beginnings of one `.tflite`, see
                                                                `beginning`, in the place of a model
    {"do": "time_cuts", "runs": n}                            → durations_ns of n invocations of each of them
    {"do": "nodes"}                                           → nodes and durations_us (runs, nodes) of an
                                                                .onnx so far, loaded with "kernels":
                                                                {"record": path}, where it is kept
    {"do": "quit"}                                            so does the end of the input

A request that fails is answered with {"error": reason, "kind": …}: "runtime" where a package is missing,
"device" where the device has no such CPU, delegate or provider, "model", "request" or "disk". A request with
"limit_s": t that takes longer ends the program, whether or not anybody is still there to hear of it. An
inference goes from an input in the model's own type and layout to its output, with batch 1 but for `batch`.
A load is of the model alone: the runtime is imported already, and the file may be in the page cache. Ask for
`stats` before `predict`: the peak of memory is then that of loading and single inferences. The host turns
codes of an integer output into logits.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import platform
import select
import shutil
import signal
import struct
import sys
import time
from array import array
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

try:
    import numpy as np
except ImportError as reason:  # a device that is only probed does without
    _no_numpy: ImportError | None = reason
else:
    _no_numpy = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TextIO

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Dims = list[int | None]
    Answer = dict[str, Any]

_ONNX_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_CPU = "CPUExecutionProvider"
_KERNEL = "_kernel_time"
_ALIKE = 0.05
"""Warm are bursts whose medians differ by no more than this share."""
_SAME = 0.02
"""A batch gives what its samples give if no output is further off than this share of the outputs' range."""


class RequestError(Exception):
    """A request that cannot be served; `kind` says what is at fault."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Tensor(NamedTuple):
    """A model's input or output: shape (None: any length) and, where it holds codes, their meaning.

    `scale` and `zero_point` are also given for a float output that the model makes of integer codes.
    """

    dims: Dims
    dtype: str
    scale: float | None
    zero_point: int | None


class Kernels(NamedTuple):
    """What computes a model: LiteRT's `resolver` or a `delegate`'s library, onnxruntime's `provider`.

    onnxruntime keeps a `record` of its nodes' times in files whose names begin like that.
    """

    resolver: str = "xnnpack"
    delegate: str | None = None
    provider: str = _CPU
    record: str | None = None


class Model(Protocol):
    """A model in its runtime."""

    input: Tensor
    output: Tensor
    load_ns: int | None = None
    """How long the runtime took to load it, without what this program asked it then."""

    def run(self, tensor: Array) -> Array:
        """One inference."""

    def resize(self, batch: int) -> None:
        """Take and give that many samples at a time."""
        raise ValueError(f"it takes one sample at a time, not {batch}")

    def op_resolver(self) -> str:
        """What computes."""


class TfliteModel(Model):
    """A `.tflite` in LiteRT; a delegate has to take some of it, unless it is but the `beginning` of one."""

    def __init__(
        self,
        library: Any,
        path: str,
        threads: int,
        output: int | None,
        kernels: Kernels,
        beginning: bool = False,
    ) -> None:
        types = library.OpResolverType
        resolvers = {
            "xnnpack": types.BUILTIN,
            "builtin": types.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": types.BUILTIN_REF,
        }
        resolver = resolvers["builtin" if kernels.delegate else kernels.resolver]
        self._kernels = kernels
        begin = time.perf_counter_ns()
        self._interpreter = library.Interpreter(
            model_path=path,
            num_threads=threads,
            experimental_op_resolver_type=resolver,
            experimental_delegates=_delegates(library, kernels.delegate),
        )
        self._interpreter.allocate_tensors()
        self.load_ns = time.perf_counter_ns() - begin
        self._nodes = self._interpreter._get_ops_details()
        if kernels.delegate and not beginning and self._taken() == 0:
            raise RequestError("device", f"delegate {kernels.delegate} took no operator of the model")
        self._input = _single(self._interpreter.get_input_details(), "inputs")
        self._output = _chosen(self._interpreter.get_output_details(), output)
        self.input, self.output = tflite_tensor(self._input), self._describe_output()

    def run(self, tensor: Array) -> Array:
        """One inference."""
        self._interpreter.set_tensor(self._input["index"], tensor)
        self._interpreter.invoke()
        result: Array = self._interpreter.get_tensor(self._output["index"])
        return result

    def resize(self, batch: int) -> None:
        """Take and give that many samples at a time."""
        self._interpreter.resize_tensor_input(self._input["index"], [batch, *self.input.dims[1:]])
        self._interpreter.allocate_tensors()

    def invoke_ns(self, tensor: Array) -> int:
        """How long the operators alone take, without their input and output being copied."""
        self._interpreter.set_tensor(self._input["index"], tensor)
        begin = time.perf_counter_ns()
        self._interpreter.invoke()
        return time.perf_counter_ns() - begin

    def op_resolver(self) -> str:
        """The kernels that run, and the delegate that took a part of the graph."""
        if self._kernels.resolver == "reference":
            return "BUILTIN_REF"
        taken, delegate = self._taken(), self._kernels.delegate
        if delegate is not None:
            return f"BUILTIN with {Path(delegate).name} for {taken} of {len(self._operators())} operators"
        return "BUILTIN with XNNPACK delegate" if taken else "BUILTIN without delegate"

    def _operators(self) -> list[dict[str, Any]]:
        """Those of the model; after them come nodes that stand for what a delegate took."""
        return [node for node in self._nodes if node["op_name"] != "DELEGATE"]

    def _taken(self) -> int:
        """How many operators no longer run by themselves: no output needs them but through a delegate."""
        makers = {int(tensor): node for node in self._nodes for tensor in node["outputs"]}
        wanted = [int(details["index"]) for details in self._interpreter.get_output_details()]
        running = set[int]()
        while wanted:
            node = makers.get(wanted.pop())
            if node is not None and node["index"] not in running:
                running.add(node["index"])
                wanted.extend(map(int, node["inputs"]))
        return sum(node["index"] not in running for node in self._operators())

    def _describe_output(self) -> Tensor:
        """The output; a float one that a last DEQUANTIZE makes gets that operator's scale."""
        own = tflite_tensor(self._output)
        makers = [node for node in self._operators() if self._output["index"] in node["outputs"]]
        if not makers or makers[-1]["op_name"] != "DEQUANTIZE":
            return own
        source = int(makers[-1]["inputs"][0])
        details = next(t for t in self._interpreter.get_tensor_details() if t["index"] == source)
        return own._replace(**_quantization(details))


class OnnxModel(Model):
    """An `.onnx` in ONNX Runtime."""

    def __init__(self, library: Any, path: str, threads: int, output: int | None, kernels: Kernels) -> None:
        available = library.get_available_providers()
        if kernels.provider not in available:
            raise RequestError(
                "device", f"onnxruntime has no {kernels.provider}; it has: {', '.join(available)}"
            )
        options = _session_options(library, threads)
        if kernels.provider != _CPU:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.enable_profiling = kernels.record is not None
        options.profile_file_prefix = kernels.record or ""
        begin = time.perf_counter_ns()
        self._session = library.InferenceSession(path, options, providers=[kernels.provider])
        self.load_ns = time.perf_counter_ns() - begin
        self._resolver = kernels.provider if kernels.provider == _CPU else self._assigned(kernels.provider)
        chosen = _chosen(self._session.get_outputs(), output)
        self._names = [chosen.name]
        self._input = _single(self._session.get_inputs(), "inputs").name
        self.input = _onnx_tensor(self._session.get_inputs()[0])
        self.output = _onnx_tensor(chosen)

    def run(self, tensor: Array) -> Array:
        """One inference."""
        result: Array = self._session.run(self._names, {self._input: tensor})[0]
        return result

    def resize(self, batch: int) -> None:
        """Take and give that many samples at a time."""
        if self.input.dims[0] not in (None, batch):
            raise ValueError(f"it takes inputs {_show(self.input.dims)}")

    def op_resolver(self) -> str:
        """The execution provider whose kernels run."""
        return self._resolver

    def _assigned(self, provider: str) -> str:
        """The provider, with how many of the nodes run there; the CPU gets what a provider does not take."""
        found = self._session.get_providers()
        if found[0] != provider:
            raise RequestError("device", f"onnxruntime fell back from {provider} to {', '.join(found)}")
        parts = [(part.ep_name, len(part.get_nodes())) for part in _assignments(self._session)]
        taken, count = sum(nodes for name, nodes in parts if name == provider), sum(n for _, n in parts)
        if taken == 0:
            raise RequestError("device", f"{provider} took no node of the model, so all of it ran on the CPU")
        return f"{provider} for {taken} of {count} nodes"

    def recorded(self) -> list[Answer]:
        """The events of its record, which ends here."""
        path = Path(self._session.end_profiling())
        try:
            events: list[Answer] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise RequestError("disk", f"its record {path} cannot be read: {error}") from error
        path.unlink()
        return events


class Runtime(NamedTuple):
    """A runtime: the module to import, the distribution that holds it, and the class that drives it."""

    module: str
    distribution: str
    model: Callable[..., Model]


RUNTIMES = {
    "tflite": Runtime("ai_edge_litert.interpreter", "ai-edge-litert", TfliteModel),
    "onnxruntime": Runtime("onnxruntime", "onnxruntime", OnnxModel),
}


class Session:
    """What the requests act on: a runtime, then a model, then samples."""

    runtimes: ClassVar[Mapping[str, Runtime]] = RUNTIMES
    verbs: ClassVar[tuple[str, ...]] = (
        "probe", "start", "load", "inputs", "time", "warm_up", "batch", "sustain", "rest", "clock",
        "conditions", "stats", "predict", "cuts", "time_cuts", "nodes", "quit",
    )  # fmt: skip

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._library: Any = None
        self._model: Model | None = None
        self._cuts = list[TfliteModel]()
        self._samples: Array | None = None
        self._axes: tuple[int, ...] = ()
        self._batch = 1
        self._idle_memory = 0
        self.ended = False

    def probe(self) -> Answer:
        """What the device is, has and does at the moment; None where it does not tell."""
        return {
            "machine": machine(),
            "emulated": emulated(),
            "conditions": conditions(),
            "system": _system(),
            "python": platform.python_version(),
            "packages": {name: _installed(name) for name in ("numpy", "ai-edge-litert", "onnxruntime")},
            "memory_bytes": _total_memory(),
            "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
        }

    def start(self, runtime: str, cpus: list[int] | None = None, attended: bool = False) -> Answer:
        """Import a runtime, in a process that keeps to these CPUs."""
        if attended:
            _end_with_input()
        if _no_numpy is not None:
            raise RequestError("runtime", f"numpy cannot be imported: {_no_numpy}")
        if cpus is not None:
            _keep_to(cpus)
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
        output: int | None = None,
        kernels: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Make a model ready to run; `load_ms` is the time that takes."""
        if self._runtime is None:
            raise RequestError("request", "load before start")
        with _blame_model():
            self._model = self._runtime.model(
                self._library, model, threads, output, Kernels(**(kernels or {}))
            )
        tensors = {"input": self._model.input._asdict(), "output": self._model.output._asdict()}
        load_ns = self._model.load_ns
        return {"load_ms": None if load_ns is None else load_ns / 1e6, **tensors}

    def inputs(self, path: str, layout: str) -> Answer:
        """Open samples (N, …), memory-mapped, and settle how their axes map to the model's."""
        self._samples = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(self._samples) == 0:
            raise RequestError("request", f"{path} holds no sample")
        self._axes = axes(layout, self._samples.shape[1:], self._loaded().input.dims)
        return {"samples": len(self._samples)}

    def time(self, runs: int) -> Answer:
        """Run the first sample, or batch, over and over, and report how long each run took."""
        run, tensor, clock = self._loaded().run, self._tensor(0, self._batch), time.perf_counter_ns
        durations = []
        with _blame_model():
            for _ in range(runs):
                begin = clock()
                run(tensor)
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
        with _blame_model():
            rows = [model.run(self._tensor(index)) for index in range(size)]
        alone = np.concatenate(rows).astype(np.float64)
        try:
            model.resize(size)
            together = model.run(self._tensor(0, size))
        except (ValueError, RuntimeError) as error:
            return {"fault": f"its batch is built in: {' '.join(str(error).split())[:200]}"}
        if together.shape != alone.shape:
            return {"fault": f"its batch is built in: {size} inputs give {_show([*together.shape])}"}
        if np.abs(together - alone).max() > _SAME * np.ptp(alone):
            return {"fault": f"{size} inputs at a time give other outputs than one by one"}
        self._batch = size
        return {"fault": None}

    def sustain(self, seconds: float) -> Answer:
        """Run without pause, and tell the medians of the first and the last tenth of the time."""
        run, tensor, clock = self._loaded().run, self._tensor(0, self._batch), time.perf_counter_ns
        tenths, count = (array("q"), array("q")), 0
        since, begin = time.time(), clock()
        early, late, end = (begin + int(share * seconds * 1e9) for share in (0.1, 0.9, 1))
        now = begin
        with _blame_model():
            while now < end or not all(tenths):
                run(tensor)
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

    def predict(self, outputs: str, first: int = 0, seconds: float = math.inf) -> Answer:
        """Write the outputs (n, classes) of as many samples as the time allows, one at least."""
        run = self._loaded().run
        assert self._samples is not None
        rows, end = [], time.monotonic() + seconds
        with _blame_model():
            for index in range(first, len(self._samples)):
                rows.append(run(self._tensor(index))[0])
                if time.monotonic() > end:
                    break
        try:
            np.save(outputs, np.stack(rows), allow_pickle=False)
        except OSError as error:
            raise RequestError("disk", f"its outputs cannot be written to {outputs}: {error}") from error
        return {"predicted": len(rows), "samples": len(self._samples)}

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
            with _blame_model():
                computes = Kernels(**(kernels or {}))
                cut = TfliteModel(self._library, scratch, threads, 0, computes, beginning=True)
            self._cuts.append(cut)
            Path(scratch).unlink()
        self._model = self._cuts[0]
        return {"cuts": len(self._cuts)}

    def time_cuts(self, runs: int) -> Answer:
        """Invoke each with the first sample; first once more, in caches that the one before has filled."""
        tensor = self._tensor(0)
        with _blame_model():
            durations = [[cut.invoke_ns(tensor) for _ in range(runs + 1)][1:] for cut in self._cuts]
        return {"durations_ns": durations}

    def nodes(self) -> Answer:
        """What each node took in each run so far of a model that keeps a record."""
        model = self._loaded()
        if not isinstance(model, OnnxModel):
            raise RequestError("request", "only a model in onnxruntime keeps a record of its nodes")
        return by_node(model.recorded())

    def quit(self) -> Answer:
        """Let the program end."""
        self.ended = True
        return {}

    def _loaded(self) -> Model:
        if self._model is None:
            raise RequestError("request", "no model is loaded")
        return self._model

    def _tensor(self, index: int, count: int = 1) -> Array:
        """So many samples from one on, and from the first again, as the model takes them."""
        if self._samples is None:
            raise RequestError("request", "no inputs are open")
        samples = self._samples[np.arange(index, index + count) % len(self._samples)]
        return to_model_type(np.transpose(samples, (0, *(1 + i for i in self._axes))), self._loaded().input)


def beginning(content: bytes, places: Mapping[str, int], operators: int, outputs: list[int]) -> bytearray:
    """The first operators of a `.tflite`, with other outputs, weights and all.

    A FlatBuffer keeps the length of a vector before its elements, and of where a vector is the distance, so
    the file stays as it is but for few numbers: the length of the vector of operators at place `operators`,
    and the distance, at place `outputs`, to a vector of `outputs` behind the end of the file. Signatures,
    which would name outputs that are gone, are none (place `signatures`, where there are any).
    """
    cut = bytearray(content) + b"\0" * (-len(content) % 4)
    struct.pack_into("<I", cut, places["operators"], operators)
    struct.pack_into("<I", cut, places["outputs"], len(cut) - places["outputs"])
    if "signatures" in places:
        struct.pack_into("<I", cut, places["signatures"], 0)
    return cut + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)


def by_node(events: list[Answer]) -> Answer:
    """From onnxruntime's record: its nodes in order, and their durations in each run, in whole microseconds.

    `run_us` are of the runs as wholes. A node that did not run has 0; one that ran more than once, as in a
    loop, has the sum.
    """
    nodes: dict[str, Answer] = {}
    runs: list[dict[str, int]] = []
    running: dict[str, int] = {}
    whole: list[int] = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            facts, name = event.get("args", {}), event["name"][: -len(_KERNEL)]
            key = f"{facts.get('node_index')} {name}"
            nodes.setdefault(
                key, {"name": name, "operator": facts.get("op_name"), "shape": _first_shape(facts)}
            )
            running[key] = running.get(key, 0) + event["dur"]
        elif event["name"] == "model_run":
            runs.append(running)
            whole.append(event["dur"])
            running = {}
    durations = [[run.get(key, 0) for key in nodes] for run in runs]
    return {"nodes": list(nodes.values()), "durations_us": durations, "run_us": whole}


def _first_shape(facts: Answer) -> list[int]:
    """Of a node's first output; none where the record does not tell."""
    outputs = facts.get("output_type_shape") or [{}]
    shape: list[int] = next(iter(outputs[0].values()), [])
    return shape


def axes(layout: str, sample: tuple[int, ...], dims: Dims) -> tuple[int, ...]:
    """The permutation that takes a sample, stored as (C, H, W) or (F,), to a model's input without batch.

    Raises:
        RequestError: the shapes do not fit, or both layouts would fit and `layout` does not choose.
    """
    keep = tuple(range(len(sample)))
    choices = {"NCHW": keep, "NHWC": (1, 2, 0)} if len(sample) == 3 else {"NCHW": keep}
    wanted = {name: order for name, order in choices.items() if layout in (name, "auto")}
    fits = [order for order in wanted.values() if _fits([sample[axis] for axis in order], dims)]
    shapes = f"the model takes {_show(dims)} and the samples are {_show([None, *sample])}, layout {layout}"
    if not fits:
        raise RequestError("model", f"{shapes}: these do not fit")
    if len(fits) > 1 and max(sample) > 1:
        raise RequestError("request", f"{shapes}: both layouts fit, so the layout must be given")
    return fits[0]


def to_model_type(values: Array, tensor: Tensor) -> Array:
    """Values as the model takes them; codes are round(value / scale) + zero point, half to even, clipped."""
    if tensor.dtype not in ("int8", "uint8"):
        return np.ascontiguousarray(values, tensor.dtype)
    if tensor.scale is None or tensor.zero_point is None:
        raise RequestError("model", f"its {tensor.dtype} input has no scale")
    codes = np.rint(np.asarray(values, np.float32) / np.float32(tensor.scale)) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    return np.ascontiguousarray(np.clip(codes, limits.min, limits.max), tensor.dtype)


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far: VmHWM, which unlike ru_maxrss no parent adds to."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RequestError("request", "/proc/self/status has no VmHWM; a device needs Linux")


def machine() -> Answer:
    """What it is, without a name: `fingerprint`, a salted hash, tells whether two are one and the same."""
    kind = {"cpu": _cpu_name(), "architecture": platform.machine(), "cores": os.cpu_count()}
    own = {"system": platform.system(), "fingerprint": _fingerprint(kind)}
    return {**kind, **own}


def conditions(system: Path = Path("/sys")) -> Answer:
    """What changes how fast the CPUs are that it may use: clock, heat, load; None where it does not tell."""
    cpus = sorted(os.sched_getaffinity(0))
    clocks = [system / f"devices/system/cpu/cpu{cpu}/cpufreq" for cpu in cpus]
    governors = {_text(folder / "scaling_governor") for folder in clocks}
    return {
        "cpus": len(cpus),
        "governor": ", ".join(sorted(filter(None, governors))) or None,
        "frequency_mhz": _largest((each / "scaling_cur_freq" for each in clocks), 1e3) or _cpuinfo_mhz(),
        "max_frequency_mhz": _largest((each / "cpuinfo_max_freq" for each in clocks), 1e3),
        "temperature_c": _largest((system / "class/thermal").glob("thermal_zone*/temp"), 1e3),
        "throttled": _throttled(system),
        "load": _load(),
    }


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # Android keeps it to itself
        return None


def _throttled(system: Path) -> bool | None:
    """Whether heat slows the CPUs down; of a Raspberry Pi, whether anything has since it was started."""
    flags = _text(system / "devices/platform/soc/soc:firmware/get_throttled")
    if flags is not None:
        return int(flags, 16) != 0
    coolers = (system / "class/thermal").glob("cooling_device*")
    states = [_text(each / "cur_state") for each in coolers if "cpu" in (_text(each / "type") or "")]
    return any(state not in (None, "0") for state in states) if states else None


def emulated() -> bool:
    """Whether this is QEMU's emulation of one process: it shows the program, but each thread is QEMU."""
    return Path("/proc/self/exe").readlink() != Path("/proc/thread-self/exe").readlink()


def _fingerprint(kind: Answer) -> str:
    identity = [_text(Path(p)) for p in ("/etc/machine-id", "/proc/device-tree/serial-number")]
    said = json.dumps(["edgepress", *identity, kind], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _cpu_name() -> str:
    board = _text(Path("/proc/device-tree/model"))
    return board or _cpuinfo("model name") or _cpuinfo("Model") or platform.machine()


def _cpuinfo_mhz() -> float | None:
    found = _cpuinfo("cpu MHz")
    return float(found) if found else None


def _cpuinfo(key: str) -> str | None:
    """The first value of that name in /proc/cpuinfo."""
    lines = (line.split(":", 1) for line in (_text(Path("/proc/cpuinfo")) or "").splitlines() if ":" in line)
    return next((value.strip() for name, value in lines if name.strip() == key), None)


def _system() -> str | None:
    lines = (_text(Path("/etc/os-release")) or "").splitlines()
    names = [line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
    return f"{names[0]}, Linux {platform.release()}" if names else None


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    """What a file of the system says; None if it is not there or not to be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _largest(paths: Iterator[Path], unit: float) -> float | None:
    values = [float(value) / unit for value in map(_text, paths) if value]
    return max(values, default=None)


def _end_with_input() -> None:
    """From now on a child kills this process when nobody is left who could write to its input.

    This process may then be in a call that never returns. The child itself ends with this process, of which
    it holds the other end of a pipe.
    """
    alive, held = os.pipe()
    parent = os.getpid()
    if os.fork():
        return
    os.close(held)
    os.closerange(1, 3)
    watch = select.poll()
    watch.register(0, select.POLLRDHUP)
    watch.register(alive, 0)
    if alive not in {descriptor for descriptor, _ in watch.poll()}:
        os.kill(parent, signal.SIGKILL)
    os._exit(0)


def _keep_to(cpus: list[int]) -> None:
    has = sorted(os.sched_getaffinity(0))
    absent = sorted(set(cpus) - set(has))  # of several, Linux would leave out those without a word
    if absent:
        names = ", ".join(map(str, has))
        raise RequestError("device", f"it cannot keep to CPUs {cpus}: {absent} are absent; it has: {names}")
    os.sched_setaffinity(0, cpus)


def _session_options(library: Any, threads: int) -> Any:
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Leave the CPU to the other model.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _assignments(session: Any) -> Any:
    """The parts of the graph, each with the provider that runs it."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise RequestError("device", "this onnxruntime does not tell which provider runs what; it is too old")
    return session.get_provider_graph_assignment_info()


def _delegates(library: Any, path: str | None) -> list[Any]:
    if path is None:
        return []
    try:
        return [library.load_delegate(path)]
    except (OSError, ValueError, AttributeError) as error:
        raise RequestError("device", f"delegate {path} cannot be loaded: {error}") from error


def _fits(shape: list[int], dims: Dims) -> bool:
    pairs = zip([1, *shape], dims, strict=False)
    return len(dims) == len(shape) + 1 and all(want in (None, have) for have, want in pairs)


def _show(dims: Dims) -> str:
    return "(" + ", ".join("N" if length is None else str(length) for length in dims) + ")"


def _chosen(outputs: Any, index: int | None) -> Any:
    return _single(outputs, "outputs") if index is None else outputs[index]


def _single(values: Any, what: str) -> Any:
    if len(values) != 1:
        raise RequestError("model", f"it has {len(values)} {what}; expected 1")
    return values[0]


def tflite_tensor(details: Mapping[str, Any]) -> Tensor:
    """A tensor from its details as an interpreter gives them."""
    return Tensor(
        [None if length < 0 else int(length) for length in details["shape"]],
        np.dtype(details["dtype"]).name,
        **_quantization(details),
    )


def _quantization(details: Mapping[str, Any]) -> dict[str, Any]:
    """Scale and zero point of a tensor that is quantised as a whole, else two times None."""
    scales, zeros = (details["quantization_parameters"][key] for key in ("scales", "zero_points"))
    if len(scales) != 1:
        return {"scale": None, "zero_point": None}
    return {"scale": float(scales[0]), "zero_point": int(zeros[0])}


def _onnx_tensor(value: Any) -> Tensor:
    if value.type not in _ONNX_TYPES:
        raise RequestError(
            "model", f"{value.name} is a {value.type}; expected one of: {', '.join(_ONNX_TYPES)}"
        )
    dims = [length if isinstance(length, int) else None for length in value.shape]
    return Tensor(dims, _ONNX_TYPES[value.type], None, None)


@contextmanager
def _blame_model() -> Iterator[None]:
    """Report what a runtime raises, whose exceptions share no base, as a fault of the model."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        raise RequestError("model", f"{type(error).__name__}: {error}") from error


def answer(session: Session, line: str) -> Answer:
    """Serve one request; a failure becomes an answer, too."""
    verbs: dict[str, Callable[..., Answer]] = {name: getattr(session, name) for name in session.verbs}
    try:
        request = json.loads(line)
        # The default action of the signal ends a process even where a runtime hangs in a call of its own.
        signal.setitimer(signal.ITIMER_REAL, request.pop("limit_s", 0))
        return verbs[request.pop("do")](**request)
    except RequestError as error:
        return {"error": str(error), "kind": error.kind}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "kind": "request"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def serve(session: Session, requests: TextIO, answers: TextIO) -> None:
    """Answer requests until `quit` or the end of the input."""
    for line in requests:
        reply = answer(session, line)
        print(json.dumps(reply), file=answers, flush=True)
        if session.ended:
            return


def own_stdout() -> TextIO:
    """Standard output for answers alone: whatever a library prints goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    serve(Session(), sys.stdin, own_stdout())
