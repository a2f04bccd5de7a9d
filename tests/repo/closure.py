"""Which first-party files a module can make Python run: its imports, followed to the end.

Followed are imports anywhere in a file, the `__init__` of every package on the way, the dotted strings of
lazy tables ("edgepress.x.y:Name", all of them, since any may be chosen), and programs started by the name of
a file beside their caller ("micro.py").
"""

import ast
import functools
import re
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]

_LAZY = re.compile(r"((?:edgepress|stages)(?:\.\w+)+):\w+")
_PROGRAM = re.compile(r"\w+\.py")


def closure(module: str) -> set[str]:
    """The names of all first-party modules that importing and running `module` can reach, itself included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _reached(name)
    return found


def says_nothing(module: str) -> bool:
    """Whether the module is but a docstring, as most `__init__` are: no edit of it can change a result."""
    return all(isinstance(getattr(node, "value", None), ast.Constant) for node in tree(module).body)


def lazy(module: str) -> set[str]:
    """The modules that the strings of a lazy table in `module` name."""
    matches = [_LAZY.fullmatch(text) for text in _strings(module)]
    return {match[1] for match in matches if match}


def path(module: str) -> Path:
    """The file of a module, relative to the repository."""
    relative = Path(*module.split("."))
    is_package = (ROOT / relative / "__init__.py").is_file()
    return relative / "__init__.py" if is_package else relative.with_suffix(".py")


def tree(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse((ROOT / path(module)).read_text(encoding="utf-8"))


def _reached(module: str) -> set[str]:
    imported: set[str] = _graph().find_modules_directly_imported_by(module)
    parents = {module.rpartition(".")[0]} - {""}
    return imported | parents | lazy(module) | _programs(module)


def _programs(module: str) -> set[str]:
    package = path(module).parent
    names = {text for text in _strings(module) if _PROGRAM.fullmatch(text)}
    files = {package / name for name in names if (ROOT / package / name).is_file()}
    return {".".join(file.with_suffix("").parts) for file in files}


@functools.cache
def _strings(module: str) -> frozenset[str]:
    constants = (node.value for node in ast.walk(tree(module)) if isinstance(node, ast.Constant))
    return frozenset(value for value in constants if isinstance(value, str))


@functools.cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("edgepress", "stages", cache_dir=None, exclude_type_checking_imports=True)
