"""A board for tests: a real SSH server on this computer, with a user, a home and keys of its own.

The server is Debian's, unpacked without being root; nss_wrapper tells it of the user `board`.
"""

import os
import shlex
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from edgepress.devices.qemu import arm_python, cache_folder
from edgepress.errors import DeviceError
from edgepress.provision.debian import cached, host_architecture, unpack

PACKAGES = ["openssh-server", "libwrap0", "libnss-wrapper"]

SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv PATH={folder}/bin:/usr/bin:/bin
"""

CLIENT = """
Host board
  HostName 127.0.0.1
  Port {port}
  User board
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
"""


class Board:
    """Reached by `ssh board` with `EDGEPRESS_SSH`; its home is `home`, programs of its own are in `bin`."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.home, self.bin = folder, folder / "home", folder / "bin"
        self._programs, self._server = programs, None
        self.home.mkdir()
        self.bin.mkdir()
        for name in ("host", "user"):
            make_key(folder / name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        (folder / "sshd_config").write_text(SERVER.format(port=self._port, folder=folder))
        (folder / "ssh_config").write_text(CLIENT.format(port=self._port, folder=folder))
        home = f"{os.getuid()}:{os.getgid()}:board:{self.home}:/bin/sh"
        (folder / "passwd").write_text(f"board:x:{home}\nsshd:x:65000:65000::/run/sshd:/usr/sbin/nologin\n")
        (folder / "group").write_text(f"board:x:{os.getgid()}:\n")
        self.know(folder / "host.pub")

    @property
    def command(self) -> str:
        """For EDGEPRESS_SSH."""
        return f"ssh -F {self.folder}/ssh_config"

    @property
    def ours(self) -> Path:
        """The folder of edgepress there."""
        return self.home / ".edgepress"

    def know(self, key: Path | None) -> None:
        """What the user's known hosts say: this key, or none."""
        line = "" if key is None else f"[127.0.0.1]:{self._port} {key.read_text()}"
        (self.folder / "known_hosts").write_text(line)

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # as its package does; a user's server has no need of it
        libraries = next(self._programs.glob("usr/lib/*/libnss_wrapper.so")).parent
        environment = {
            "LD_LIBRARY_PATH": str(libraries),
            "LD_PRELOAD": str(libraries / "libnss_wrapper.so"),
            "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.folder / "group"),
        }
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(self._programs / "usr/sbin/sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        end = time.monotonic() + 30
        while time.monotonic() < end and self._server.poll() is None:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Switch it off: nobody is told."""
        if self._server is not None:
            self.cut()
            self._server.kill()
            self._server.wait()

    def cut(self) -> None:
        """End all its connections, and nothing else."""
        for process in psutil.Process(self._server.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # one ends with the other
                if process.name().startswith("sshd"):
                    process.kill()

    def install(self) -> None:
        """The runtimes, as `edgepress device setup` would, but those of this environment."""
        venv = self.ours / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        packages = next(venv.glob("lib/python*/site-packages"))
        (packages / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def emulate(self, directory: str) -> None:
        """Let the Python in a folder of the home be that of the emulated board."""
        python = self.home / directory / "venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.join(arm_python("cortex-a72"))} "$@"\n')
        python.chmod(0o755)


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@contextmanager
def running_board(folder: Path) -> Iterator[Board]:
    """A board that is on; the test is skipped where its packages cannot be had."""
    try:
        programs = cached(
            cache_folder() / "openssh-server",
            lambda made: unpack(PACKAGES, made, host_architecture(), dependencies=False),
        )
    except DeviceError as error:
        pytest.skip(f"there is no SSH server to test with: {error}")
    board = Board(folder, programs)
    board.start()
    try:
        yield board
    finally:
        board.stop()
