"""Models in ONNX Runtime."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.devices.program.answers import Answer, RequestError
from edgepress.devices.program.models import CPU, Kernels, Model
from edgepress.devices.program.tensors import Tensor, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgepress.devices.program.tensors import Array

_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
_KERNEL = "_kernel_time"


class OnnxModel(Model):
    """An `.onnx` in ONNX Runtime."""

    def __init__(self, library: Any, path: str, threads: int, kernels: Kernels) -> None:
        available = library.get_available_providers()
        if kernels.provider not in available:
            raise RequestError(
                "device", f"onnxruntime has no {kernels.provider}; it has: {', '.join(available)}"
            )
        options = _session_options(library, threads)
        if kernels.provider != CPU:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.enable_profiling = kernels.record is not None
        options.profile_file_prefix = kernels.record or ""
        begin = time.perf_counter_ns()
        self._session = library.InferenceSession(path, options, providers=[kernels.provider])
        self.load_ns = time.perf_counter_ns() - begin
        self._resolver = kernels.provider if kernels.provider == CPU else self._assigned(kernels.provider)
        self.inputs = [_onnx_tensor(each) for each in self._session.get_inputs()]
        self.outputs = [_onnx_tensor(each) for each in self._session.get_outputs()]
        self._names = [each.name for each in self.inputs]

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        """One inference."""
        results: list[Array] = self._session.run(None, dict(zip(self._names, tensors, strict=True)))
        return results

    def resize(self, batch: int) -> None:
        """Take and give that many samples at a time."""
        for each in self.inputs:
            if each.dims[0] not in (None, batch):
                raise ValueError(f"it takes inputs {show(each.dims)}")

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


def _onnx_tensor(value: Any) -> Tensor:
    if value.type not in _ONNX_TYPES:
        raise RequestError(
            "model", f"{value.name} is a {value.type}; expected one of: {', '.join(_ONNX_TYPES)}"
        )
    dims = [length if isinstance(length, int) else None for length in value.shape]
    return Tensor(dims, _ONNX_TYPES[value.type], None, None, value.name)
