"""No first-party line runs what a file or a stranger says, or reads a file without a look at what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repo.closure import ROOT

FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in ("edgepress", "stages")
    for file in (ROOT / folder).rglob("*.py")
)
UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNPICKLERS = {"pickle.load", "pickle.loads", "pickle.Unpickler"}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "tempfile.mktemp",
}

READERS = {
    "open", "io.open", "os.open", "os.fdopen", "json.load", "json.loads", "np.load", "np.fromfile",
    "np.genfromtxt", "np.loadtxt", "np.memmap", "onnx.load", "onnx.load_model", "tarfile.open",
    "yaml.safe_load", "zipfile.ZipFile",
}  # fmt: skip
TAKE_BYTES = {"Image.open", "archive.open", "self._zip.open", "self.open"}
"""What these read was opened, or read, through the way in."""

OWN_FILES = {
    "edgepress/files.py": "it is the way in",
    "edgepress/datasets/numpy_files.py": "maps what was opened through it",
    "edgepress/datasets/zips.py": "reads what was opened through it",
    "edgepress/boundary.py": "/dev/null",
    "edgepress/system.py": "files of the system",
    "edgepress/watcher.py": "files of the system",
    "edgepress/writing.py": "opens what it writes",
    "edgepress/config/agreement.py": "what Git has just packed of conf/, in memory",
    "edgepress/compress/quantisation/dynamic.py": "what onnxruntime has just written for us",
    "edgepress/compress/quantisation/qdq.py": "what onnxruntime has just written for us",
    "edgepress/devices/host.py": "the program's own sources",
    "edgepress/provision/debian.py": "files of the system",
    "edgepress/provision/runtimes.py": "the project's own lock",
    "edgepress/report/revisions.py": "files at a revision, through DVC",
}
"""Files that read otherwise, and what."""

every_file = pytest.mark.parametrize("file", FILES)


@every_file
def test_nothing_unpickles(file: str) -> None:
    assert not {name.split(".")[0] for name in _imported(file)} & UNSAFE_MODULES
    used = {ast.unparse(node) for node in ast.walk(_tree(file)) if isinstance(node, ast.Attribute)}
    assert not used & UNPICKLERS
    assert not set(_imported(file)) & UNPICKLERS


@every_file
def test_nothing_evaluates_text(file: str) -> None:
    assert not {ast.unparse(call.func) for call in _calls(file)} & UNSAFE_CALLS


@every_file
def test_no_command_goes_through_a_shell(file: str) -> None:
    assert not [call for call in _calls(file) if _keyword(call, "shell") not in (None, "False")]


@every_file
def test_arrays_and_checkpoints_are_read_as_data(file: str) -> None:
    for call in _calls(file):
        name = ast.unparse(call.func)
        assert _keyword(call, "allow_pickle") in (None, "False"), f"line {call.lineno}"
        if name == "torch.load":
            assert _keyword(call, "weights_only") == "True", f"line {call.lineno}"


@every_file
def test_files_are_read_through_the_one_way_in(file: str) -> None:
    """See `edgepress/files.py`: it is no pipe, no device, not too large, and not exchanged in between."""
    if file.startswith(("edgepress/devices/program/", "edgepress/devices/micro.py")) or file in OWN_FILES:
        return  # what runs on a device has Python alone, and reads what was sent to it
    for call in _calls(file):
        name = ast.unparse(call.func)
        reads = name in READERS or name.endswith((".read_text", ".read_bytes", ".open"))
        writes = any(
            isinstance(each, ast.Constant) and each.value in ("w", "wb", "w+b") for each in call.args
        )
        assert not reads or writes or name in TAKE_BYTES, f"line {call.lineno}: {ast.unparse(call)}"


def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / Path(file)).read_text(encoding="utf-8"))


def _calls(file: str) -> list[ast.Call]:
    return [node for node in ast.walk(_tree(file)) if isinstance(node, ast.Call)]


def _keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


def _imported(file: str) -> Iterator[str]:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
