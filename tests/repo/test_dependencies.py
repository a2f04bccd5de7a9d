"""What is imported is declared, and what is declared is pinned once."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.repo.closure import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WITHOUT_DEPENDENCIES = {"onnx-tf"}  # asks for a package that is gone; the Makefile installs it alone
ELSEWHERE = ROOT / "tests/bench/peers/programs"  # run in the peers' own environments
GIVEN_TO_ONNX_TF = {"onnx_tf", "tensorflow_addons", "tensorflow_probability"}


def test_the_library_imports_only_declared_packages() -> None:
    declared = _names(PROJECT["dependencies"] + _extra("timm"))
    assert _undeclared(["edgepress", "stages"], declared) == set()


def test_the_tests_import_only_declared_packages() -> None:
    assert _undeclared(["tests"], _names(PROJECT["dependencies"] + _extra("dev"))) == set()


def test_every_declared_package_is_pinned_as_in_the_constraints() -> None:
    constraints = set(_constraints())
    for requirement in PROJECT["dependencies"] + _extra("dev"):
        assert requirement in constraints


def test_extras_have_the_names_that_pip_finds() -> None:
    """An extra with another name, e.g. `a_b`, is left out with a warning."""
    for name in PROJECT["optional-dependencies"]:
        assert name == _normal(name)


def test_constraints_are_versions_and_nothing_else() -> None:
    for line in _constraints():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line
    assert _names(_constraints()) >= WITHOUT_DEPENDENCIES


def _extra(name: str) -> list[str]:
    """The requirements of an extra, and of those that it asks for itself."""
    asked = [
        re.fullmatch(r"edgepress\[([\w-]+)\]|(.+)", each) for each in PROJECT["optional-dependencies"][name]
    ]
    return [line for each in asked if each for line in ([each[2]] if each[2] else _extra(each[1]))]


def _constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


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
