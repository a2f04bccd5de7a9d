"""What the benchmark of converters demands is read from files and figures, and missing it is seen."""

from pathlib import Path

import flatbuffers
import numpy as np
import onnx.parser
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgepress.convert.nhwc import convert
from edgepress.graph.normalise.normalise import normalise
from tests.bench.peers.alignment import misaligned_buffers
from tests.bench.peers.contestants import OURS
from tests.bench.peers.entries import Entry
from tests.bench.peers.environments import python_of
from tests.bench.peers.goals import goals, memory_of_large
from tests.bench.peers.processes import Cost
from tests.networks import network


@pytest.fixture
def group(tmp_path: Path) -> list[Entry]:
    """Ours, which takes a third of its peer's time, and the peer, which has the same file."""
    content = convert(normalise(network()), False, np.zeros(0, np.float32))
    entries = []
    for name, seconds, ms in ((OURS, 0.5, 0.99), ("onnx2tf", 1.5, 1.0)):
        target = tmp_path / f"net.{name}.tflite"
        content.save(target)
        times = np.random.default_rng(len(name)).normal(ms, 0.01, (10, 4, 20))
        entries.append(Entry("net", name, target, [Cost(seconds, 2**27)], times_ms=times))
    (tmp_path / "net.onnx").write_bytes(bytes(100))
    return entries


def held(group: list[Entry]) -> dict[str, bool | None]:
    """Whether each goal is held, by a word of its name."""
    found = {str(goal): goal.held for goal in goals("float32", group, group[0].target.parent)}
    words = ("memory", "multiples", "time to convert", "latency", "operators")
    return {word: next(one for text, one in found.items() if word in text) for word in words}


def test_all_goals_are_held(group: list[Entry]) -> None:
    assert set(held(group).values()) == {True}


def test_each_goal_can_be_missed(group: list[Entry]) -> None:
    ours, peer = group
    ours.costs = [Cost(0.53, 2**28)]
    assert ours.times_ms is not None
    ours.times_ms = ours.times_ms * 1.05
    ours.inside["ops"] += 1
    model = schema.ModelT.InitFromPackedBuf(ours.target.read_bytes())
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    ours.target.write_bytes(bytes(builder.Output()))
    assert misaligned_buffers(peer.target) == 0 < misaligned_buffers(ours.target)
    assert set(held(group).values()) == {False}


def test_a_latency_above_the_peers_is_within_the_goal_where_the_interval_reaches_it(
    group: list[Entry],
) -> None:
    ours, peer = group
    assert ours.times_ms is not None
    assert peer.times_ms is not None
    restless = np.tile([0.9, 1.0, 1.1, 0.95, 1.07], 2)[:, None, None]
    ours.times_ms, peer.times_ms = ours.times_ms * 1.02 * restless, peer.times_ms * restless[::-1]
    assert held(group)["latency"]


def test_luck_in_the_sittings_that_find_the_best_peer_is_not_counted(group: list[Entry]) -> None:
    group[1].times[::2] *= 0.9
    assert held(group)["latency"]


HARD_SWISH = """
<ir_version: 8, opset_import: ["": 15]>
net (float[1, 8] x) => (float[1, 8] y) <float scale = {0.05}, int8 zero = {0}> {
  codes = QuantizeLinear(x, scale, zero)
  numbers = DequantizeLinear(codes, scale, zero)
  curved = HardSwish(numbers)
  made = QuantizeLinear(curved, scale, zero)
  y = DequantizeLinear(made, scale, zero)
}
"""


def test_a_peers_hard_swish_on_codes_may_be_two_operators(group: list[Entry]) -> None:
    ours, peer = group
    peer.target.write_bytes(bytes(convert(normalise(onnx.parser.parse_model(HARD_SWISH)), True, np.zeros(0))))
    assert (peer.inside["ops"], peer.coded_hard_swishes) == (1, 1)
    ours.inside["ops"] = 2
    assert held(group)["operators"]
    ours.inside["ops"] = 3
    assert not held(group)["operators"]


def test_what_no_peer_can_do_is_not_told(group: list[Entry]) -> None:
    group[1].reason = "it cannot be installed: no network"
    assert held(group)["time to convert"] is None
    group[0].reason = "this is a bug"
    assert [goal.held for goal in goals("float32", group, group[0].target.parent)] == [False]


def test_the_large_networks_memory_is_2_2_times_its_size_and_200_mib() -> None:
    size = 305_000_000
    limit = int(2.2 * size) + 200 * 2**20
    assert memory_of_large(limit, size, 1.0).held
    assert not memory_of_large(limit + 2, size, 1.0).held


def test_a_peer_without_its_python_says_which_it_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGEPRESS_BENCH_PYTHON", str(tmp_path / "absent"))
    with pytest.raises(
        RuntimeError, match=r"Python 3.12 or newer .* EDGEPRESS_BENCH_PYTHON=/path/to/python3.12"
    ):
        python_of("onnx2tf")
