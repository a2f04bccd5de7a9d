"""Devices that say something else than what they were asked: one line each, and bounded memory."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from edgepress.config.composition import compose
from edgepress.config.device import Ssh
from edgepress.devices import client, phone, pipes
from edgepress.devices.answers import parse_answer
from edgepress.devices.client import start_runner
from edgepress.devices.host import Connection, Host
from edgepress.devices.local import LocalConnection, popen
from edgepress.devices.phone_benchmark import read
from edgepress.devices.pipes import EndlessOutputError, communicate, limited
from edgepress.devices.prediction import XNNPACK, outputs_of
from edgepress.errors import ConfigError, DeviceError
from edgepress.provision import check, debian
from edgepress.provision.named import configuration
from edgepress.provision.setup import _note

START = '{"pid": 7}'
TENSOR = {"name": "t", "dims": [1, 3], "dtype": "float32", "scale": None, "zero_point": None}


class Talker(LocalConnection):
    """Runs a line of Python in the place of our program."""

    def __init__(self, code: str, folder: Path = Path()) -> None:
        super().__init__(folder)
        self._code = code

    def start(self, threads: int, log: IO[bytes]) -> "subprocess.Popen[str]":
        return popen([sys.executable, "-I", "-c", self._code], log, {})


def saying(*answers: str, head: str = "") -> str:
    """A program that says something first, and then a line for each request."""
    lines = f"import sys; sys.stdout.write({head!r}); sys.stdout.flush()\n"
    lines += f"for answer, request in zip({answers!r}, sys.stdin): print(answer, flush=True)\n"
    return lines + "sys.stdin.read()\n"


def ask(code: str, verb: str = "", timeout_s: float = 20, **arguments: object) -> dict[str, object]:
    with start_runner(Talker(code), "tflite", Path("m.tflite"), XNNPACK, timeout_s) as runner:
        return runner.ask(verb, **arguments) if verb else {"pid": runner.pid}


def refusal(code: str, verb: str = "", **arguments: object) -> str:
    with pytest.raises(DeviceError) as error:
        ask(code, verb, **arguments)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 600
    return message


def test_a_board_that_closes_its_output_but_lives_on_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_GRACE_S", 0.2)
    code = "import os, time\nos.close(1)\ntime.sleep(600)"
    assert "crashed at 'start'" in refusal(code)


def test_a_greeting_before_the_first_answer_is_passed_over() -> None:
    greeting = "Welcome to Board 1.0\n\n  * updates: 7\x1b[0m\n" + "-" * 500 + "\n"
    assert ask(saying(START, head=greeting)) == {"pid": 7}


STRANGE = {
    "nothing": ("", "crashed at 'start' \\(exit status 0"),
    "words": ("print('hello')", "crashed at 'start'"),
    "an empty object": (saying("{}"), "answers 'start' with '{}': no 'pid' in it; expected the number of"),
    "a list": (saying("[1]", "{}"), "gave no answer"),
    "another type": (saying('{"pid": "7"}'), "'pid' is '7'; expected the number of a process"),
    "true": (saying('{"pid": true}'), "'pid' is True; expected"),
    "a negative process": (saying('{"pid": -1}'), "'pid' is -1; expected"),
    "not a number": (saying('{"pid": NaN}'), "NaN is no number of JSON"),
    "a long number": (saying('{"pid": ' + "9" * 5000 + "}"), "Exceeds the limit"),
    "depth": (saying('{"pid": ' + "[" * 100_000 + "}"), "nested too deeply"),
    "half an answer": ("print('{\"pid\"', end='')", "crashed at 'start'"),
    "an error of another kind": (saying('{"error": {"a": ["\\u001b[2J"]}, "kind": ["x"]}'), "failed: {'a':"),
    "binary": ("import sys; input(); sys.stdout.buffer.write(b'{\\xff\\x00\\x1b}\\n')", "answers 'start'"),
    "a control sequence": (saying('{"pid": "\\u001b]0;title\\u0007"}'), "'pid' is"),
}  # fmt: skip


@pytest.mark.parametrize("answer", STRANGE)
def test_an_answer_of_another_form_is_refused_in_a_line(answer: str) -> None:
    code, message = STRANGE[answer]
    with pytest.raises(DeviceError, match=message) as error:
        ask(code, timeout_s=2 if answer == "a list" else 20)
    assert str(error.value).isprintable()


BY_VERB = {
    "time": ('{"durations_ns": [1, 0]}', {"runs": 2}, "'durations_ns' is .1, 0.; expected a list of"),
    "fewer times": ('{"durations_ns": [1]}', {"runs": 2}, "1 durations of 2 runs"),
    "inputs": ('{"samples": 1e400}', {}, "'samples' is inf; expected a count"),
    "predict": ('{"predicted": 0, "samples": 9}', {}, "'predicted' is 0; expected a count from 1"),
    "stats": (START, {}, "no 'peak_memory_bytes' in it"),
    "load": (
        json.dumps({"load_ms": 1, "inputs": [TENSOR], "outputs": [{}]}),
        {},
        "'outputs' is .*; expected tensors",
    ),
    "conditions": ('{"cpus": 1}', {}, "no 'governor' in it"),
    "sustain": (
        '{"inferences": 1, "begin_s": 5, "end_s": 5, "first_p50_ms": 1, "last_p50_ms": 1}',
        {}, "it ended before it began",
    ),
    "clock": ('{"now_s": "12:00"}', {}, "'now_s' is"),
    "nodes": ('{"nodes": [], "durations_us": [[1]], "run_us": [1]}', {}, "not a duration for each of 0"),
    "time_cuts": ('{"durations_ns": [[1], [1, 2]]}', {"runs": 1}, "not 1 durations for each cut"),
    "batch": ('{"fault": 5}', {}, "'fault' is 5; expected a text or null"),
    "lacking": ('{"operators": [1]}', {}, "'operators' is .*; expected names"),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_VERB)
def test_each_answer_must_be_what_was_asked_for(case: str) -> None:
    answer, arguments, message = BY_VERB[case]
    verb = "time" if case == "fewer times" else case
    with pytest.raises(ValueError, match=message):
        parse_answer(answer, verb, arguments)


def test_answers_out_of_order_are_noticed() -> None:
    code = saying(START, '{"durations_ns": [1]}')
    assert "answers 'inputs' with" in refusal(code, "inputs", path="x", layout="auto")


def test_an_endless_line_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_LINE", 1 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    endless = "import sys\nwhile True: sys.stdout.write('{' * 65536)"
    assert "answers 'start' with more than 1,048,576 characters" in refusal(endless)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_endless_lines_that_are_no_answers_are_cut_off() -> None:
    assert "answers 'start' with" in refusal("while True: print('hello')")


def test_endless_errors_leave_their_last_words() -> None:
    code = "import sys\nsys.stderr.write('x' * 3_000_000 + '\\nthe \\x1b[2Jend\\n'); sys.exit(3)"
    message = refusal(code)
    assert r"the \x1b[2Jend" in message


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_script_that_never_ends_to_print_is_ended(stream: str) -> None:
    pipe = subprocess.PIPE
    code = f"import sys\nwhile True: sys.{stream}.write('y' * 65536)"
    started = time.monotonic()
    with (
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        ) as process,
        pytest.raises(EndlessOutputError, match="more than 4,194,304 characters"),
    ):
        communicate(process, "", 60)
    assert time.monotonic() - started < 20


def test_a_log_or_file_that_never_ends_does_not_fill_the_disk(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        done = subprocess.run(limited(["yes"], 1 << 20), stdout=log, check=False)
    assert done.returncode == -signal.SIGXFSZ
    assert (tmp_path / "log").stat().st_size == 1 << 20


def _be_found_first(monkeypatch: pytest.MonkeyPatch, program: Path, command: str) -> None:
    """Write a program that runs a command of the shell, and put its folder at the head of the path."""
    program.write_text(f"#!/bin/sh\nexec {command}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def test_a_file_of_a_phone_that_never_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _be_found_first(monkeypatch, tmp_path / "adb", 'dd if=/dev/zero of="$5" bs=65536 status=none')
    monkeypatch.setattr(phone, "MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(DeviceError, match=r"sends more than 1,048,576 bytes, which is no file of ours"):
        phone.Phone("p", "/there").fetch("/there/outputs.npy", tmp_path / "outputs.npy")
    assert (tmp_path / "outputs.npy").stat().st_size <= 1 << 20


def test_what_a_packager_prints_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _be_found_first(monkeypatch, tmp_path / "apt-get", "yes")
    with pytest.raises(DeviceError, match=r"^apt-get cannot be run: more than 4,194,304 characters"):
        debian._run(["apt-get", "update"], tmp_path)


def test_a_script_that_does_not_end_is_ended() -> None:
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(["sleep", "60"], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process,
        pytest.raises(subprocess.TimeoutExpired),
    ):
        communicate(process, "", 0.3)


def test_only_the_last_words_of_a_log_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w+b") as log:
        log.truncate(1 << 40)
        log.seek(1 << 40)
        log.write(b"\nthe end\n\n")
        assert pipes.last_words(log) == "the end"


@pytest.mark.parametrize(
    ("content", "samples", "message"),
    [
        (np.zeros((2, 3), np.float32), 2, None),
        (np.zeros((3, 3), np.float32), 2, "gives 3 outputs where it says 2"),
        (np.zeros((2, 3), complex), 2, "outputs are complex128 of shape"),
        (b"\x93NUMPY\1\0\2\0{}", 2, "no array of numpy's"),
        (b"", 2, "no array of numpy's"),
        (np.zeros((2, 3), np.float32), 1, "predicts for 2 samples of 1"),
    ],
)
def test_outputs_must_be_as_many_as_the_device_says(
    content: "np.ndarray | bytes", samples: int, message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "outputs-0.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    there = Talker(saying(START, '{"predicted": 2, "samples": 2}'), tmp_path)
    with start_runner(there, "tflite", Path("m"), XNNPACK, 20) as runner:
        if message is None:
            (found,), count = outputs_of(runner, there, [TENSOR], samples)
            assert (found.shape, count) == ((2, 3), samples)
        else:
            with pytest.raises(DeviceError, match=message):
                outputs_of(runner, there, [TENSOR], samples)


class Somewhere(Host):
    def __init__(self, code: str) -> None:
        self._code = code

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        yield Talker(self._code)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('{}')", "it answers with no 'machine' in it"),
        ("print('Welcome')", "it answers with Expecting value"),
        ("", r"does not run the program \(0\)"),
        (r"""print('{"error": "\\u001b[2J no", "kind": "x"}')""", r"it answers with \\x1b\[2J no"),
        ("while True: print('y' * 65536)", "more than 4,194,304 characters came"),
        ("raise SystemExit('no \\x1b[2J library')", r"\(no \\x1b\[2J library\)"),
    ],
)
def test_a_device_that_is_looked_at_may_say_anything(code: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as error:
        check._probe(Somewhere(code))
    assert str(error.value).isprintable()


NAMES = [
    "${oc.env:HOME}", "../secrets", "a/b", "-oProxyCommand=id", "", ".", "a b", "a,b", "x=1", "board\n", "é",
    "[a]", "{a:1}", "a..b", "'a'", "~", "n" * 100_000 + "!",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_names_of_devices_are_names_and_nothing_else(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"the device is called .*; expected letters, digits and _ \. -"
    ) as error:
        configuration(name)
    assert len(str(error.value)) < 300


def test_what_a_board_says_of_itself_is_noted_as_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf import OmegaConf

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "told")
    cpu = '${oc.env:SECRET} \\${x} "quoted": {a: 1} # no\n\x1b[2J\u202e ' + "c" * 100_000
    machine = {"cpu": cpu, "architecture": "arm", "cores": 4, "fingerprint": "0123456789ab"}
    timing = None  # not asked for
    _note("board", Ssh("board", ".edgepress", None, None, XNNPACK, timing), machine)  # type: ignore[arg-type]
    path = tmp_path / "conf" / "device" / "board.yaml"
    found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    assert isinstance(found, dict)
    assert found["machine"].startswith('?{oc.env:SECRET} /?{x} "quoted": {a: 1} # no/n/x1b[2J/u202e ccc')
    assert len(found["machine"]) <= 200
    assert "told" not in path.read_text()


TOLD = (
    "INFO: Init: 12, First inference: 34\n"
    "INFO: count=50 first=9 curr=9 min=9 max=9 avg=9 std=7 p5=9 median={} p95=9\nexit status 0\n"
)


def test_the_benchmark_programs_median_is_read() -> None:
    assert read(TOLD.format("1500"), Path("m")).median_ms == 1.5


@pytest.mark.parametrize(
    "said",
    ["", "exit status 0\n", TOLD.format("1.2.3"), TOLD.format("1e999"), TOLD.format("0"), TOLD.format("."),
     TOLD.format("9" * 400), TOLD.format("nan"), "\x1b[2J\n" * 9,
     "count=1 first=" * 300_000 + "\nexit status 0\n"],
    ids=range(10),
)  # fmt: skip
def test_what_the_benchmark_program_says_may_be_anything(said: str) -> None:
    started = time.monotonic()
    with pytest.raises(DeviceError) as error:
        read(said, Path("m"))
    assert str(error.value).isprintable()
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("value", ["${oc.env:SECRET}", "a${oc.env:SECRET}", "'${oc.env:SECRET}'"])
def test_the_name_of_a_device_in_an_override_is_never_resolved(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "told")
    with pytest.raises(ConfigError, match="is no name of a choice; expected one of: adb, ethos_u") as error:
        compose([f"device={value}"], Path(__file__).parents[2] / "conf")
    assert "told" not in str(error.value)
