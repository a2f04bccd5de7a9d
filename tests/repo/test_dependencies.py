"""What is imported is declared, and what is declared is pinned once."""

import ast
import re
import sys
import sysconfig
import tomllib
from importlib.metadata import Distribution, distribution, distributions, packages_distributions
from pathlib import Path

import pytest

from edgepress.errors import DeviceError
from edgepress.provision.runtimes import locked_runtimes
from tests.repo.closure import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK, RUNTIMES = ROOT / "requirements.lock", ROOT / "edgepress/provision/runtimes.lock"
BY_VERSION = {"torch", "torchvision"}  # their builds differ from machine to machine
ELSEWHERE = ROOT / "tests/bench/peers/programs"  # run in the peers' own environments
PERMISSIVE = (
    r"(Apache|BSD|New BSD|3-Clause BSD|0BSD|BSL-1\.0|MIT|PSF|Python Software Foundation|Zope|ZPL|Zlib|CC0|"
    r"MPL|Mozilla Public License 2|EPL|GPL-2\.0-only WITH a linking exception)"
)
"""Those from MPL on ask for the source of changes to their own files, and for no more."""
LICENCES_LOOKED_UP = {
    "grandalf": "EPL-1.0 OR GPL-2.0-only",
    "namex": "Apache-2.0",
    "pygit2": "GPL-2.0-only WITH a linking exception",
    "tflite_micro": "Apache-2.0",
}
"""Of packages whose metadata do not say it."""
GIVEN_TO_ONNX_TF = {"onnx_tf", "tensorflow_addons", "tensorflow_probability"}


def test_the_library_imports_only_declared_packages() -> None:
    declared = _names(PROJECT["dependencies"] + _extra("timm"))
    assert _undeclared(["edgepress", "stages"], declared) == set()


def test_the_tests_import_only_declared_packages() -> None:
    assert _undeclared(["tests"], _names(PROJECT["dependencies"] + _extra("dev"))) == set()


def test_every_declared_package_is_pinned_as_in_the_lock() -> None:
    pinned = set(map(_exact, _pinned(LOCK)))
    for requirement in PROJECT["dependencies"] + _extra("dev"):
        assert requirement.partition("==")[0] in BY_VERSION or _exact(requirement) in pinned


def test_what_is_installed_is_what_the_lock_pins() -> None:
    installed = {f"{_normal(each.name)}=={each.version}" for each in _installed()}
    assert {_exact(line) for line in _pinned(LOCK)} - installed == set()


def test_extras_have_the_names_that_pip_finds() -> None:
    """An extra with another name, e.g. `a_b`, is left out with a warning."""
    for name in PROJECT["optional-dependencies"]:
        assert name == _normal(name)


@pytest.mark.parametrize("lock", [LOCK, RUNTIMES])
def test_a_lock_holds_versions_and_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert len(_pinned(lock)) > 10
    for entry in re.sub(r" \\\n +", " ", text).splitlines()[1:]:
        name, *hashes = entry.split(" --hash=")
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*( ; [a-z_]+ == '\w+')?", name), name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name


def test_boards_get_the_versions_of_this_environment() -> None:
    assert locked_runtimes() == RUNTIMES
    elsewhere = {line for line in _pinned(RUNTIMES) if ";" not in line}
    assert elsewhere <= {_exact(line) for line in _pinned(LOCK)}


def test_a_lock_for_boards_that_pins_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress.provision.runtimes.version", lambda _: "99.0")
    with pytest.raises(DeviceError, match=r"does not pin ai-edge-litert==99\.0.* make lock"):
        locked_runtimes()


def test_packages_are_built_with_what_the_lock_pins() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert set(build["requires"]) <= set(_pinned(LOCK))


def test_no_licence_forbids_what_we_do() -> None:
    """Use and pass on, in a program of any licence: so none that wants the whole program under its own."""
    told = {each.name: licences(each.name) for each in _installed()}
    assert len(told) > 100
    unknown = sorted(name for name, found in told.items() if not found)
    assert unknown == [], "they name no licence; look it up and add it to LICENCES_LOOKED_UP"
    assert {name: found for name, found in told.items() if not all(map(_permits, found))} == {}


@pytest.mark.parametrize(
    ("licence", "permits"),
    [
        ("MIT", True),
        ("EPL-2.0 OR GPL-2.0-or-later", True),
        ("GPL-3.0-only", False),
        ("GNU Affero General Public License v3", False),
        ("CC-BY-NC-4.0", False),
        ("Business Source License 1.1", False),
        ("Proprietary", False),
    ],
)
def test_licences_are_told_apart(licence: str, permits: bool) -> None:
    assert _permits(licence) is permits


def _installed() -> list[Distribution]:
    """What pip installed; setuptools, once imported, adds to `sys.path` the copies that it works with."""
    return list(distributions(path=sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})))


def licences(package: str) -> set[str]:
    """What a package says of its licence: an SPDX expression, or else its free text and classifiers."""
    if package in LICENCES_LOOKED_UP:
        return {LICENCES_LOOKED_UP[package]}
    about = distribution(package).metadata
    if expression := about.get("License-Expression"):
        return set(re.split(r" AND ", expression.replace("(", "").replace(")", "")))
    text = (about.get("License") or "").strip().splitlines()[:1]
    classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    named = [c.split(" :: ")[-1] for c in classifiers if not c.endswith("OSI Approved")]
    return set(named or text)


def _permits(licence: str) -> bool:
    """Whether the licence, or one of those that it leaves the choice of, is permissive or of single files."""
    return any(re.match(PERMISSIVE, choice.strip()) for choice in re.split(r" OR | \| ", licence))


def _extra(name: str) -> list[str]:
    """The requirements of an extra, and of those that it asks for itself."""
    asked = [
        re.fullmatch(r"edgepress\[([\w-]+)\]|(.+)", each) for each in PROJECT["optional-dependencies"][name]
    ]
    return [line for each in asked if each for line in ([each[2]] if each[2] else _extra(each[1]))]


def _pinned(lock: Path) -> list[str]:
    """The packages with their versions and, where they are for some computers only, for which."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line.removesuffix("\\").strip() for line in lines if re.match(r"[A-Za-z]", line)]


def _exact(pin: str) -> str:
    name, _, version = pin.partition("==")
    return f"{_normal(name)}=={version}"


def _names(requirements: list[str]) -> set[str]:
    return {_normal(requirement.split("==")[0]) for requirement in requirements}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _undeclared(folders: list[str], declared: set[str]) -> set[str]:
    files = [
        file for folder in folders for file in (ROOT / folder).rglob("*.py") if ELSEWHERE not in file.parents
    ]
    imported = {name.split(".")[0] for file in files for name in _imported(file)}
    own = {"edgepress", "stages", "tests"}
    third_party = imported - own - set(sys.stdlib_module_names) - GIVEN_TO_ONNX_TF
    distributions = packages_distributions()
    return {
        name
        for name in third_party
        if not {_normal(one) for one in distributions.get(name, [name])} & declared
    }


def _imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
