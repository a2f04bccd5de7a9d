"""What goes wrong with a board, provoked on a real SSH server: one clear error each, and a rerun goes on."""

import dataclasses
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from edgepress.cli import main
from edgepress.config.device import Ssh
from edgepress.devices.base import Device, Measurement, Pair
from edgepress.devices.linux import LinuxDevice
from edgepress.devices.registry import open_device
from edgepress.devices.ssh import SshHost
from edgepress.errors import ConfigError, DeviceError
from edgepress.profiling.profile import profile
from tests.board import Board, make_key
from tests.contracts import test_device

ROOT = Path(__file__).parents[2]
LOCAL = test_device.TestLocal.config
CONFIG = Ssh("board", ".edgepress", None, None, LOCAL.kernels, LOCAL.timing)


class TestSsh(test_device.DeviceContract):
    """A board that is this computer, behind a real SSH server."""

    name = "ssh"

    @pytest.fixture(scope="class")
    @classmethod
    def device(cls, board: Board) -> Device:
        return open_device(CONFIG)


@pytest.mark.parametrize("name", ["tflite int8", "onnxruntime int8"])
def test_single_operators_are_timed_on_the_board(board, small_models, name):
    pair = test_device.make_pair(small_models, name)
    found = profile(open_device(CONFIG), pair.runtime, [pair.candidate], small_models / "images.npy", runs=1)
    assert sum(row.candidate.ms for row in found.rows) > 0
    left = [path.name for path in (board.ours / "runs").iterdir()]
    assert left == []


@pytest.fixture
def pair(small_models: Path) -> Pair:
    return test_device.make_pair(small_models, "tflite int8")


@pytest.fixture
def measure(small_models: Path) -> Callable[..., Measurement]:
    def on_board(pair: Pair, **changes: object) -> Measurement:
        device = open_device(dataclasses.replace(CONFIG, **changes))
        return device.measure(pair, small_models / "images.npy")

    return on_board


@pytest.fixture(autouse=True)
def as_it_was(board: Board) -> Iterator[None]:
    """Nothing that a test does to the board outlives it."""
    kept = {name: (board.folder / name).read_bytes() for name in ("known_hosts", "user.pub")}
    yield
    for name, content in kept.items():
        (board.folder / name).write_bytes(content)
    for stub in board.bin.iterdir():
        stub.unlink()
    shutil.rmtree(board.ours / "files", ignore_errors=True)


def far_processes(board: Board) -> list[psutil.Process]:
    """Those that run our program on the board."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command[:1] == ["venv/bin/python"] and process.cwd() == str(board.ours):
            found.append(process)
    return found


def sent_as(board: Board, path: Path) -> Path:
    """What a file is on the board."""
    return next(f for f in (board.ours / "files").iterdir() if f.read_bytes() == path.read_bytes())


def far_process(board: Board) -> psutil.Process:
    """The one that runs our program on the board and is at work."""
    return wait_for(lambda: next((p for p in far_processes(board) if p.cpu_times().user > 1), None))


def wait_for(find: Callable[[], object], limit_s: float = 30) -> object:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = find()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_what_login_scripts_say_is_passed_over(board, measure, pair):
    (board.home / ".ssh").mkdir(exist_ok=True)
    greeting = board.home / ".ssh" / "rc"
    greeting.write_text("echo Welcome to the board; echo; echo '{'; printf 'no \\033[2J line'; echo\n")
    try:
        measured = measure(pair)
    finally:
        greeting.unlink()
    assert measured.candidate.outputs is not None
    assert len(measured.candidate.output) == 40


def test_an_unknown_host_key_is_refused(board, measure, pair):
    board.know(None)
    with pytest.raises(DeviceError, match=r"board 'board' has an unknown host key .*.* once with: ssh board"):
        measure(pair)


def test_a_changed_host_key_is_refused(board, measure, pair, tmp_path):
    make_key(tmp_path / "other")
    board.know(tmp_path / "other.pub")
    with pytest.raises(DeviceError, match=r"shows another host key than it did .*ssh-keygen -R"):
        measure(pair)


def test_a_refused_login_is_told(board, measure, pair, tmp_path):
    make_key(tmp_path / "other")
    shutil.copy(tmp_path / "other.pub", board.folder / "user.pub")
    with pytest.raises(DeviceError, match=r"refuses the login .*make `ssh board true` work without"):
        measure(pair)


def test_a_board_that_is_off_is_told(board, measure, pair):
    board.stop()
    try:
        with pytest.raises(DeviceError, match=r"board 'board' cannot be reached .*refused.*; is it on"):
            measure(pair)
    finally:
        board.start()


def test_a_board_that_nobody_knows_is_told(measure, pair):
    with pytest.raises(DeviceError, match=r"board 'nowhere\.invalid' has no known address .*~/\.ssh/config"):
        measure(pair, board="nowhere.invalid")


def test_a_name_that_would_be_an_option_is_refused():
    with pytest.raises(ConfigError, match=r"board is '-oProxyCommand=touch x'; expected a name"):
        dataclasses.replace(CONFIG, board="-oProxyCommand=touch x")


def test_a_missing_ssh_is_told(measure, pair, monkeypatch):
    monkeypatch.setenv("EDGEPRESS_SSH", "no-such-program")
    with pytest.raises(DeviceError, match=r"ssh cannot be started: .*no-such-program.*; install OpenSSH"):
        measure(pair)


def test_without_setup_there_is_no_runtime(measure, pair):
    with pytest.raises(DeviceError, match=r"no runtime yet .*install it with: edgepress device setup board"):
        measure(pair, directory="elsewhere")


def test_a_runtime_that_is_missing_is_named(board, measure, pair):
    (packages,) = board.ours.glob("venv/lib/python*/site-packages")
    (packages / "here.pth").rename(packages / "here.off")
    try:
        with pytest.raises(DeviceError, match=r"numpy cannot be imported.*edgepress device setup board"):
            measure(pair)
    finally:
        (packages / "here.off").rename(packages / "here.pth")


def test_a_python_of_another_architecture_is_told(board, measure, pair):
    python = board.ours / "venv/bin/python"
    kept = python.readlink()
    header = bytearray(Path("/bin/sh").read_bytes())
    header[18:20] = (0xF3).to_bytes(2, "little")  # e_machine: RISC-V
    python.unlink()
    python.write_bytes(header)
    python.chmod(0o755)
    try:
        with pytest.raises(DeviceError, match=r"python does not run on board 'board' .*another machine"):
            measure(pair)
    finally:
        python.unlink()
        python.symlink_to(kept)


def test_another_machine_than_it_was_is_refused(measure, pair):
    known = measure(pair).machine["fingerprint"]
    assert measure(pair, fingerprint=known).machine["fingerprint"] == known
    with pytest.raises(
        DeviceError, match=rf"a Pi with fingerprint 0123456789ab is expected, .*{known} answers"
    ):
        measure(pair, fingerprint="0123456789ab", machine="a Pi")


def test_a_disk_that_fills_up_is_told_and_a_rerun_goes_on(board, measure, pair):
    measure(pair)
    sent = sent_as(board, pair.candidate)
    sent.unlink()
    full = sent.with_name(f"{sent.name}.part")
    full.symlink_to("/dev/full")
    with pytest.raises(DeviceError, match=r"disk of board 'board' is full; .*what has been sent is kept"):
        measure(pair)
    full.unlink()
    assert measure(pair).kind == "measured"


def test_a_disk_that_is_too_small_is_told_before_anything_is_sent(board, measure, pair):
    measure(pair)
    before = {path: path.stat().st_ino for path in (board.ours / "files").iterdir()}
    next(path for path in before if path.suffix == ".tflite").unlink()
    df = board.bin / "df"
    df.write_text(
        "#!/bin/sh\necho Filesystem 1024-blocks Used Available\necho /dev/x 100000 100000 12 100% /\n"
    )
    df.chmod(0o755)
    with pytest.raises(DeviceError, match=r"has 0\.0 MB left in \.edgepress, but .*\.tflite takes"):
        measure(pair)


def test_half_a_file_is_continued_and_a_wrong_half_is_replaced(board, measure, pair):
    expected = measure(pair).candidate.output
    sent = sent_as(board, pair.candidate)
    half, content = sent.with_name(f"{sent.name}.part"), sent.read_bytes()
    for start in (content[: len(content) // 2], b"wrong" * 10, content + b"too long"):
        sent.unlink()
        half.write_bytes(start)
        np.testing.assert_array_equal(measure(pair).candidate.output, expected)
        assert sent.read_bytes() == content
        assert not half.exists()


def test_nothing_is_sent_twice_and_nothing_stays_of_a_run(board, measure, pair):
    measure(pair)
    before = {path: path.stat().st_ino for path in (board.ours / "files").iterdir()}
    measure(pair)
    assert {path: path.stat().st_ino for path in (board.ours / "files").iterdir()} == before
    assert list((board.ours / "runs").iterdir()) == []


def test_a_lost_connection_is_told_and_nothing_goes_on_there(board, measure, pair, small_models):
    endless = Pair("onnxruntime", small_models / "endless.onnx", small_models / "float.onnx")
    device = LinuxDevice(SshHost(CONFIG), CONFIG.kernels, None, timeout_s=90)
    far = list[psutil.Process]()

    def cut() -> None:
        far.append(far_process(board))
        board.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(DeviceError, match=r"cut off: the connection to board 'board' was lost.*; run again"):
        device.measure(endless, small_models / "images.npy")
    thread.join()
    wait_for(lambda: not far[0].is_running(), limit_s=5)  # long before its own limit
    assert measure(pair).kind == "measured"


def test_a_model_that_hangs_is_killed_on_the_board(board, measure, pair, small_models):
    endless = Pair("onnxruntime", small_models / "endless.onnx", small_models / "float.onnx")
    device = LinuxDevice(SshHost(CONFIG), CONFIG.kernels, None, timeout_s=6)
    far = list[psutil.Process]()
    thread = threading.Thread(target=lambda: far.append(far_process(board)))
    thread.start()
    with pytest.raises(DeviceError, match=r"endless\.onnx in onnxruntime gave no answer to 'time' within"):
        device.measure(endless, small_models / "images.npy")
    thread.join()
    wait_for(lambda: not far[0].is_running(), limit_s=3)
    assert measure(pair).kind == "measured"


def test_a_crash_on_the_board_is_told_as_such(board, small_models):
    endless = Pair("onnxruntime", small_models / "endless.onnx", small_models / "float.onnx")
    device = LinuxDevice(SshHost(CONFIG), CONFIG.kernels, None)
    thread = threading.Thread(target=lambda: far_process(board).send_signal(signal.SIGSEGV))
    thread.start()
    with pytest.raises(DeviceError, match=r"endless\.onnx in onnxruntime crashed at 'time' \(SIGSEGV"):
        device.measure(endless, small_models / "images.npy")
    thread.join()


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_setup_installs_the_runtimes_and_notes_what_the_board_is(board, project, capsys):
    home = Path(f"{board.ours}-kept")
    board.ours.rename(home)
    try:
        assert main(["device", "check", "board"]) == 0
        assert "missing; install it with: edgepress device setup board" in capsys.readouterr().out
        assert main(["device", "setup", "board"]) == 0
        assert "use it with: dvc exp run -S device=board" in capsys.readouterr().out
        assert main(["device", "check", "board"]) == 0
        assert "missing" not in capsys.readouterr().out
        assert main(["compose", "device=board"]) == 0
        composed = yaml.safe_load((project / "params.yaml").read_text())["device"]
        noted = project / "conf/device/board.yaml"
        noted.write_text(noted.read_text().replace(composed["fingerprint"], "0123456789ab"))
        assert main(["device", "setup", "board"]) == 1
        assert "with fingerprint 0123456789ab, but" in capsys.readouterr().err
    finally:
        shutil.rmtree(board.ours)
        home.rename(board.ours)
    assert (composed["name"], composed["board"]) == ("ssh", "board")
    assert {"directory", "machine", "fingerprint", "kernels", "timing"} < set(composed)


def test_setup_says_what_the_board_lacks(board, project, capsys, tmp_path):
    assert main(["device", "setup", "board", "--python", "python2"]) == 1
    assert "board 'board' has no python2 of version 3.11 or newer with venv" in capsys.readouterr().err
    empty = tmp_path / "wheels"
    empty.mkdir()
    (project / "conf/device/spare.yaml").write_text(
        "defaults:\n  - ssh\n  - _self_\n\nboard: board\ndirectory: spare\n"
    )
    assert main(["device", "setup", "spare", "--wheels", str(empty)]) == 1
    assert "pip failed on board 'board': ERROR: No matching distribution" in capsys.readouterr().err
