"""State spaces and other recurrences: as a loop in the file, as a convolution, as sums."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from tests.zoo.own.network import Network, draws


def _scan(decay: torch.Tensor, inputs: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """h = decay·h + input at each place, and read·h: (length, D, S), (length, D, S), (length, S)."""
    state = torch.zeros_like(inputs[0])
    found = torch.zeros_like(inputs[:, :, 0])
    for place in range(inputs.size(0)):
        state = decay[place] * state + inputs[place]
        found[place] = (state * read[place].unsqueeze(0)).sum(1)
    return found


class Mamba(nn.Module):
    """A state space whose step, input and reading depend on the input (Gu and Dao, "Mamba", 2023)."""

    def __init__(self, width: int = 16, states: int = 4, looped: bool = True) -> None:
        super().__init__()
        self.states = states
        # A script's loop becomes a loop in the file; what is traced becomes all of its rounds.
        self.scan = torch.jit.script(_scan) if looped else _summed
        self.entry, self.out = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)
        self.local = nn.Conv1d(2 * width, 2 * width, 4, padding=3, groups=2 * width)
        self.project, self.step = nn.Linear(2 * width, 2 * states + 2), nn.Linear(2, 2 * width)
        self.speeds = nn.Parameter(torch.log(torch.arange(1, states + 1).float()).repeat(2 * width, 1))
        self.direct = nn.Parameter(torch.rand(2 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        x, gate = self.entry(x).chunk(2, -1)
        x = functional.silu(self.local(x.transpose(1, 2))[:, :, :length].transpose(1, 2))
        step, write, read = self.project(x).split((2, self.states, self.states), -1)
        step = functional.softplus(self.step(step)).unsqueeze(-1)
        decay = torch.exp(-step * torch.exp(self.speeds))
        inputs = step * write.unsqueeze(2) * x.unsqueeze(-1)
        found = self.scan(decay[0], inputs[0], read[0])
        return self.out((found.unsqueeze(0) + self.direct * x) * functional.silu(gate))


def _summed(decay: torch.Tensor, inputs: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """The same as `_scan` without a loop: by sums of logarithms, cumulated."""
    total = decay.log().cumsum(0)
    apart = total.unsqueeze(1) - total.unsqueeze(0)
    earlier = torch.ones(len(inputs), len(inputs)).tril()[..., None, None]
    states = ((apart * earlier).exp() * earlier * inputs.unsqueeze(0)).sum(1)
    return (states * read.unsqueeze(1)).sum(2)


class Rwkv(nn.Module):
    """Receptance, key and value with states in and out (Peng et al., "RWKV", 2023): one step of many."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Parameter(torch.rand(3, width))
        self.r, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.decay, self.first = nn.Parameter(-torch.rand(width)), nn.Parameter(torch.rand(width))

    def forward(self, x: torch.Tensor, last: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        normed = self.norm(x)
        r, k, v = (
            layer(normed * share + last * (1 - share))
            for layer, share in zip((self.r, self.k, self.v), self.mix, strict=True)
        )
        above, below, largest = state.unbind(1)
        most = torch.maximum(largest, self.first + k)
        old, new = torch.exp(largest - most), torch.exp(self.first + k - most)
        found = torch.sigmoid(r) * (old * above + new * v) / (old * below + new)
        most = torch.maximum(largest + self.decay, k)
        old, new = torch.exp(largest + self.decay - most), torch.exp(k - most)
        state = torch.stack((old * above + new * v, old * below + new, most), 1)
        return x + self.out(found), normed, state


class LongConvolution(nn.Module):
    """A diagonal state space as the convolution that it is (Gu et al., "S4D", 2022)."""

    def __init__(self, width: int = 12, states: int = 8, length: int = 40) -> None:
        super().__init__()
        self.entry, self.out = nn.Conv1d(6, width, 1), nn.Conv1d(width, 2 * width, 1)
        self.register_buffer("times", torch.arange(length).float())
        self.speeds, self.turns = (nn.Parameter(torch.rand(width, states)) for _ in range(2))
        self.weights = nn.Parameter(torch.randn(width, states))

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        at = self.times.flip(0)
        waves = torch.exp(-0.2 * self.speeds[..., None] * at) * torch.cos(3 * self.turns[..., None] * at)
        kernel = (self.weights[..., None] * waves).sum(1, keepdim=True)
        x = self.entry(signal)
        x = functional.conv1d(functional.pad(x, (len(at) - 1, 0)), kernel, groups=x.shape[1])
        return functional.glu(self.out(functional.gelu(x)), 1)


class Retention(nn.Module):
    """Linear attention that fades (Sun et al., "Retentive Network", 2023), CumSum for what normalises it."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x), functional.elu(self.k(x)) + 1, self.v(x)
        place = torch.arange(x.shape[1])
        fade = torch.where(place[:, None] >= place, 0.9 ** (place[:, None] - place).float(), 0.0)
        kept = (functional.elu(q) + 1) @ k.transpose(1, 2) * fade
        return kept @ v / ((functional.elu(q) + 1) * k.cumsum(1)).sum(-1, keepdim=True)


def recurrence() -> onnx.ModelProto:
    """A gated recurrence as ONNX's Scan, which carries one state and stacks what it gives."""
    random, width = np.random.default_rng(0), 12
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["row", "gate"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], ["share"]),
            helper.make_node("Sub", ["row", "state"], ["apart"]),
            helper.make_node("Mul", ["share", "apart"], ["change"]),
            helper.make_node("Add", ["state", "change"], ["next"]),
            helper.make_node("Tanh", ["next"], ["given"]),
        ],
        "step",
        [value("state", TensorProto.FLOAT, [width]), value("row", TensorProto.FLOAT, [width])],
        [value("next", TensorProto.FLOAT, [width]), value("given", TensorProto.FLOAT, [width])],
        [numpy_helper.from_array(random.normal(size=(width, width)).astype(np.float32), "gate")],
    )
    graph = helper.make_graph(
        [helper.make_node("Scan", ["start", "rows"], ["end", "outputs"], num_scan_inputs=1, body=body)],
        "recurrence",
        [value("start", TensorProto.FLOAT, [width]), value("rows", TensorProto.FLOAT, [20, width])],
        [value("end", TensorProto.FLOAT, [width]), value("outputs", TensorProto.FLOAT, [20, width])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


NETWORKS = (
    Network(
        "mamba",
        "selective scan as Loop",
        Mamba,
        draws({"x": (1, 24, 16)}),
        exporter="TorchScript",
        opset=17,
    ),
    Network(
        "mamba_without_loop",
        "the same by CumSum",
        lambda: Mamba(looped=False),
        draws({"x": (1, 24, 16)}),
    ),
    Network(
        "rwkv",
        "one step, states in and out",
        Rwkv,
        draws({"x": (1, 24), "last": (1, 24), "state": (1, 3, 24)}),
        ("output", "next_last", "next_state"),
        "dynamo, not optimised",
        no_oracle="TensorFlow's converter joins in integers what the network joins in floats",
    ),
    Network("s4d", "a kernel as long as the signal", LongConvolution, draws({"signal": (1, 6, 40)})),
    Network(
        "retention",
        "fading attention, CumSum",
        Retention,
        draws({"x": (1, 20, 24)}),
        exporter="TorchScript",
        opset=13,
    ),
    Network(
        "gated_scan",
        "ONNX's Scan",
        recurrence,
        draws({"start": (12,), "rows": (20, 12)}),
        ("end", "outputs"),
        exporter="onnx.helper",
        opset=17,
    ),
)
