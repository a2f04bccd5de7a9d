"""Programs from Debian's packages, unpacked in a folder, without being root and without installing them."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgepress.devices.pipes import EndlessOutputError, finished
from edgepress.errors import DeviceError
from edgepress.text import one_line

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIRROR = "EDGEPRESS_DEBIAN_MIRROR"
_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_TIMEOUT_S = 600


def cached(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, a folder that `make` fills in its absence; never seen half filled."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        made = Path(folder) / target.name
        made.mkdir()
        make(made)
        try:
            made.rename(target)
        except OSError:  # another process was first
            if not target.exists():
                raise
    return target


def unpack(
    packages: Sequence[str],
    folder: Path,
    architecture: str,
    *,
    dependencies: bool = True,
    backports: bool = False,
) -> None:
    """Unpack packages, and what they depend on, into a folder.

    They come from the mirror that this computer's apt uses, or that EDGEPRESS_DEBIAN_MIRROR names, for the
    release that this computer runs, and are checked against Debian's signatures.

    Raises:
        DeviceError: this is no Debian, or apt cannot fetch or unpack them.
    """
    release = _release()
    with tempfile.TemporaryDirectory() as state:
        apt = _Apt(Path(state), architecture)
        suites = [release, f"{release}-backports"] if backports else [release]
        lines = [f"deb [signed-by={_KEYRING}] {_mirror(apt, release)} {suite} main\n" for suite in suites]
        apt.use("".join(lines))
        target = ["-t", f"{release}-backports"] if backports else []
        apt.run("update")
        verb = ["install", "--yes", "--download-only"] if dependencies else ["download"]
        apt.run(*target, *verb, *packages)
        for archive in apt.archives():
            _run(["dpkg-deb", "--extract", str(archive), str(folder)], folder)


def host_architecture() -> str:
    """Debian's name for this computer's processor.

    Raises:
        DeviceError: it is one that has no packages here.
    """
    name = _NAMES.get(platform.machine())
    if name is None:
        raise DeviceError(f"packages are unpacked on {' or '.join(_NAMES)}; this is {platform.machine()}")
    return name


class _Apt:
    """apt with all its state in a folder, where nothing is installed."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self._folder, self._downloads = folder, folder / "cache" / "archives"
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        self._settings: Mapping[str, str] = {
            "Dir::State": str(folder / "state"),
            "Dir::Cache": str(folder / "cache"),
            "Dir::State::status": str(folder / "status"),
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "true",
        }

    def use(self, sources: str) -> None:
        """Take packages from these sources instead of the computer's own."""
        path = self._folder / "sources.list"
        path.write_text(sources)
        own = {"Dir::Etc::sourcelist": str(path), "Dir::Etc::sourceparts": "/dev/null"}
        self._settings = {**self._settings, **own}

    def run(self, *arguments: str) -> str:
        """What apt-get says."""
        options = [part for key, value in self._settings.items() for part in ("-o", f"{key}={value}")]
        return _run(["apt-get", "-q", *options, *arguments], self._downloads)

    def archives(self) -> list[Path]:
        """The packages that were fetched."""
        return sorted(self._downloads.glob("*.deb"))


def _run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        status, said, words = finished(command, _TIMEOUT_S, cwd=folder, env=environment)
    except (OSError, subprocess.TimeoutExpired, EndlessOutputError) as error:
        raise DeviceError(f"{command[0]} cannot be run: {error}; it takes a Debian with apt") from error
    if status != 0:
        reasons = [line for line in words.splitlines() if line.startswith("E:")] or [words]
        remedy = f"is Debian's mirror within reach? {_MIRROR} names another"
        raise DeviceError(f"{command[0]} failed: {one_line(reasons[0], 300)}; {remedy}")
    return said


def _release() -> str:
    """The code name of the Debian that runs here."""
    if shutil.which("apt-get") is None or not _KEYRING.exists():
        raise DeviceError("Debian's packages are unpacked by apt, which is not here; do it on a Debian")
    lines = Path("/etc/os-release").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    if facts.get("ID") != "debian" or "VERSION_CODENAME" not in facts:
        name = facts.get("PRETTY_NAME", "an unknown system")
        raise DeviceError(f"this is {name}; the packages are Debian's, so do it on a Debian 12 or newer")
    return facts["VERSION_CODENAME"].strip('"')


def _mirror(apt: _Apt, release: str) -> str:
    """The address from which the computer's own apt takes that release."""
    if _MIRROR in os.environ:
        return os.environ[_MIRROR]
    for line in apt.run("--print-uris", "update").splitlines():
        address, found, _ = line.strip("'").partition(f"/dists/{release}/")
        if found:
            return address
    raise DeviceError(f"apt has no mirror for {release}; name one in the environment variable {_MIRROR}")
