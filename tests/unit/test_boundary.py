"""Whatever happens to a command or a stage, one line tells it, with the right status."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.boundary import run
from edgepress.cli import main
from edgepress.errors import ArtifactError, ConfigError, UnsupportedModelError
from edgepress.watcher import spins

ROOT = Path(__file__).parents[2]

Result = "subprocess.CompletedProcess[str]"


def staged(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code as a stage's main function, in a process of its own."""
    head = "import ctypes, errno, os, resource, signal, sys, time\nfrom edgepress.boundary import run_stage\n"
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return subprocess.run(
        [sys.executable, "-c", f"{head}def main():\n{body}run_stage(main)\n"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run behind a &
    )


ENDINGS = {
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT)", 130, "interrupted; every file"),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", 143, "ended by SIGTERM; every file"),
    "memory": ("raise MemoryError", 1, "there is not enough memory"),
    "memory in a library": ("raise RuntimeError('std::bad_alloc')", 1, "there is not enough memory"),
    "ENOMEM": ("raise OSError(errno.ENOMEM, 'Cannot allocate memory')", 1, "there is not enough memory"),
    "disk": ("raise OSError(errno.ENOSPC, 'No space left on device')", 1, "cannot write temporary files in"),
    "files": ("raise OSError(errno.EMFILE, 'Too many open files', 'x')", 1, "x: Too many open files; close"),
    "permission": ("open('/proc/1/mem/x', 'w')", 1, "/proc/1/mem/x: "),
    "bug": (
        "1 / 0",
        70,
        "this is a bug in edgepress: ZeroDivisionError: division by zero (in __main__, line 4)",
    ),
    "exit": ("sys.exit(0)", 1, "the stage was ended by exit(0) in code that it ran, such as a network's"),
    "exit with words": ("sys.exit('a\\nb')", 1, r"the stage was ended by exit('a\nb') in code that it ran"),
    "package": ("import no_such_package", 1, "the package of module no_such_package is not installed"),
    "abort": ("os.abort()", -signal.SIGABRT, "the stage was ended by SIGABRT in a native library"),
    "segmentation fault": ("ctypes.string_at(0)", -signal.SIGSEGV, "the stage was ended by SIGSEGV"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "was ended by SIGKILL or a native"),
    "native exit": ("os._exit(1)", 1, "the stage was ended by SIGKILL or a native library, most likely"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_end_has_its_line_and_status(ending: str) -> None:
    code, status, line = ENDINGS[ending]
    result = staged(code, EDGEPRESS_TRACEBACK="")
    assert result.returncode == status, result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert line in result.stderr


def test_the_traceback_of_a_bug_can_be_had() -> None:
    result = staged("1 / 0", EDGEPRESS_TRACEBACK="1")
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: this is a bug")
    assert "Fatal Python error: Aborted" in staged("os.abort()", EDGEPRESS_TRACEBACK="1").stderr


def test_a_stage_that_goes_well_says_nothing_of_it() -> None:
    result = staged("print('done')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_an_interrupted_stage_cleans_up_undisturbed_by_a_second_signal() -> None:
    code = (
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\nfinally:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('cleaned')"
    )
    result = staged(code)
    assert (result.returncode, result.stdout) == (130, "cleaned\n")


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"]])
def test_a_full_output_is_told_once(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = _edgepress(arguments, full)
    assert result.returncode == 1
    assert re.fullmatch(r"error: cannot write standard output: No space left .*\n", result.stderr)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = _edgepress(["--help"], writing)
    os.close(writing)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_streams_that_are_closed_stand_for_nothing(closed: list[int], tmp_path: Path) -> None:
    """None of their numbers becomes that of a file, and what was for one does not come out of another."""
    path = tmp_path / "written"
    code = (
        f"file = open({str(path)!r}, 'wb', 0)\nassert file.fileno() > 2\nfile.write(b'whole')\n"
        "print('done')\nprint('told', file=sys.stderr)\nraise EdgepressError('refused')"
    )
    head = (
        "import sys\nfrom edgepress.boundary import run_stage\nfrom edgepress.errors import EdgepressError\n"
    )
    body = "".join(f"    {line}\n" for line in code.splitlines())
    result = subprocess.run(
        [sys.executable, "-c", f"{head}def main():\n{body}run_stage(main)\n"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: [os.close(number) for number in closed],
    )
    assert (result.returncode, path.read_bytes()) == (1, b"whole")
    assert result.stdout == ("" if 1 in closed else "done\n")
    assert result.stderr == ("" if 2 in closed else "told\nerror: refused\n")


def test_characters_that_an_output_lacks_are_spelt() -> None:
    result = staged("print('3×4 → 0.5 µs – é')", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stdout) == (0, "3x4 -> 0.5 us - \\xe9\n")


def _edgepress(arguments: list[str], output: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edgepress", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True, check=False)  # type: ignore[call-overload, no-any-return]


COMMAND_LINES = {
    ("convrt",): "command 'convrt' is unknown; expected one of: .* Did you mean 'convert'?",
    ("results", "--jsn"): "unrecognized arguments: --jsn. Did you mean '--json'?",
    ("convert", "x.onnx", "-o", "y", "--quant", "int7"): "--quant 'int7' is unknown; .* Did you mean 'int8'?",
    (): "the following arguments are required: command",
}


@pytest.mark.parametrize("words", COMMAND_LINES)
def test_a_wrong_command_line_names_the_nearest_word(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.match("error: " + COMMAND_LINES[words].replace("?", r"\?"), err)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"edgepress \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_verbose_shows_the_traceback_of_a_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-v", "inspect", "absent.onnx"], ["inspect", "absent.onnx", "-v"]):
        assert main(words) == 1
        assert "Traceback" in capsys.readouterr().err
    assert main(["inspect", "absent.onnx"]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_and_choices(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert {"convert", "int8", "--calibration"} <= set(re.findall(r"[\w-]+", script))


def test_in_process_errors_are_told_by_their_kind(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> None:
        raise ConfigError("prune.sparsity is 1.5")

    def denied() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "file")

    assert (run(refused), capsys.readouterr().err) == (1, "error: prune.sparsity is 1.5\n")
    assert (run(denied), capsys.readouterr().err) == (
        1,
        "error: file: Permission denied; check the permissions\n",
    )


EXHAUSTED = {
    "memory": (MemoryError(), "there is not enough memory"),
    "memory of a library": (
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        "there is not enough",
    ),
    "files": (OSError(errno.EMFILE, "Too many open files"), "Too many open files; close other programs"),
    "disk": (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space"),
    "hardware": (OSError(errno.EIO, "Input/output error"), "Input/output error; "),
    "content": (ValueError("no such thing"), "the network is broken"),
    "an absent file": (OSError(errno.ENOENT, "No such file"), "the network is broken"),
}


@pytest.mark.parametrize("lack", EXHAUSTED)
def test_what_the_system_lacks_is_no_fault_of_a_network(
    lack: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepress.boundary._lacking", [])
    reason, line = EXHAUSTED[lack]

    def judged() -> None:
        raise UnsupportedModelError("the network is broken; mend it") from reason

    def told() -> None:
        raise ArtifactError("cannot write x: its own words") from reason

    assert run(judged) == 1
    assert capsys.readouterr().err.startswith(f"error: {line}")
    assert run(told) == 1
    assert capsys.readouterr().err == "error: cannot write x: its own words\n"


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ((10.1, 13, 1400 << 20), True),
        ((10.1, 13, 1410 << 20), False),
        ((12, 13, 1400 << 20), False),
        ((10, 10.1, 1400 << 20), False),
    ],
    ids=["asks in vain", "grows", "computes", "waits"],
)
def test_a_process_that_asks_for_memory_in_vain_is_noticed(now: tuple[float, float, int], told: bool) -> None:
    assert spins((10, 10, 1400 << 20), now, 1500 << 20) is told
    assert not spins((10, 10, 1400 << 20), now, 3000 << 20)
