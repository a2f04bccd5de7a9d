"""Whether `params.yaml` holds what `conf/` composes to, or a variant of it.

`dvc repro` composes nothing, so an edit in `conf/` alone would silently change nothing. A variant, such as
that of `dvc exp run -S` or of an experiment's branch, differs on purpose. What `conf/` was before tells the
two apart: a value of `params.yaml` that `conf/` had then, and has no more, was not composed since.
"""

import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from edgepress import files
from edgepress.config.composition import CONF, compose
from edgepress.config.load import PARAMS, read
from edgepress.config.readings import leaves
from edgepress.config.validation import CHOICES, validate
from edgepress.config.yaml_text import parse_yaml
from edgepress.errors import ConfigError

_ABSENT = object()
_SHOWN = 4
_REMEDIES = (
    "To take over an edit in conf/, or to return to conf/: edgepress compose. "
    "To keep the values of params.yaml, make them the default in conf/"
)
_GIT_LIMIT_S = 60

Values = dict[str, object]


def check(params: Path = PARAMS, conf: Path = CONF) -> list[str]:
    """Refuse a `params.yaml` that is not valid, or holds values that `conf/` has no more.

    Returns:
        How it differs from what `conf/` composes to, as texts; none if it does not.

    Raises:
        ConfigError: it is not valid, or an edit in `conf/` was not composed; without Git any difference is
            taken for such an edit.
    """
    validate(params)
    values = read(params)
    ours = {**_values(values), **_nearest_choices(values, conf)}
    now = _composed(ours, conf)
    differing = [key for key in {**now, **ours} if not _same(ours, now, key)]
    if not differing:
        return []
    earlier = list(_earlier(ours, conf))
    stale = [key for key in differing if any(_same(ours, before, key) for before in earlier)]
    if stale or not earlier:
        told = [_told(key, ours, now, params.name) for key in stale or differing]
        more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        raise ConfigError(f"{params.name} differs from conf/: {', '.join(told[:_SHOWN])}{more}. {_REMEDIES}")
    return [_told(key, ours, now, params.name) for key in differing]


def _composed(ours: Values, conf: Path) -> Values:
    """What `conf/` composes to with the choices of `ours`, but with its own default choices noted as such."""
    text = parse_yaml(compose(conf=conf), "conf/")
    own = {group: choice for group, choice in _defaults(conf).items() if group not in CHOICES}
    defaults = {**_values(text), **own}
    groups = (*CHOICES, *own)
    chosen = {
        group: ours.get(group) for group in groups if ours.get(group) not in (None, defaults.get(group))
    }
    there = [f"{group}={name}" for group, name in chosen.items() if (conf / group / f"{name}.yaml").exists()]
    composed = _values(parse_yaml(compose(there, conf), "conf/")) if there else defaults
    return {**composed, **{group: defaults.get(group) for group in groups}}


def _nearest_choices(values: Mapping[str, Any], conf: Path) -> Values:
    """For each group that notes no choice, such as `train` or a user's own, what `values` are most like."""
    nearest: Values = {}
    for group, default in _defaults(conf).items():
        if group not in CHOICES:
            section: Any = values
            for name in group.split("/"):
                section = section.get(name) if isinstance(section, Mapping) else None
            choices = [conf / group / f"{default}.yaml", *sorted((conf / group).glob("*.yaml"))]
            there = dict(leaves(section or {}))
            nearest[group] = max(choices, key=lambda file: _likeness(there, file)).stem
    return nearest


def _likeness(values: Values, file: Path) -> int:
    """How many values in a section are those of a choice, less those that are not."""
    choice = dict(leaves(parse_yaml(files.read(file, files.MAX_TEXT_BYTES), str(file)) or {}))
    keys = {*values, *choice}
    return 2 * sum(_same(values, choice, key) for key in keys) - len(keys)


def _defaults(conf: Path) -> Values:
    """The default choice of each group with a file for it, as the list in `config.yaml` has them."""
    path, found = conf / "config.yaml", Values()
    with suppress(FileNotFoundError):  # which is told when it is composed
        config = parse_yaml(files.read(path, files.MAX_TEXT_BYTES), str(path))
        listed = config.get("defaults") if isinstance(config, Mapping) else None
        for entry in listed if isinstance(listed, list) else ():
            found.update(entry if isinstance(entry, Mapping) else {})
    return {group: choice for group, choice in found.items() if (conf / group / f"{choice}.yaml").is_file()}


def _values(content: Mapping[str, Any]) -> Values:
    """All values by their dotted keys, with each group's choice under the name of the group instead."""
    values = dict(leaves(content))
    for group in CHOICES:
        key = "choice" if f"{group}.choice" in values else "name"
        values[group] = values.pop(f"{group}.{key}", _ABSENT)
    return values


def _same(ours: Values, theirs: Values, key: str) -> bool:
    one, other = ours.get(key, _ABSENT), theirs.get(key, _ABSENT)
    return one == other and type(one) is type(other)


def _earlier(ours: Values, conf: Path) -> Iterator[Values]:
    """What `conf/` composed to at the last commit, and before the commit that changed it last."""
    for revision in _revisions(conf):
        with tempfile.TemporaryDirectory() as folder, suppress(ConfigError):
            with tarfile.open(fileobj=BytesIO(_git(conf, "archive", revision, "."))) as archive:
                archive.extractall(folder, filter="data")
            yield _composed(ours, Path(folder))


def _revisions(conf: Path) -> list[str]:
    """Git's names of the two commits; none without Git, or before the first commit."""
    found = list[str]()
    with suppress(OSError, subprocess.SubprocessError):
        found.append(_last_change(conf, "HEAD"))
        found.append(_last_change(conf, f"{found[0]}^"))
    return [revision for revision in found if revision]


def _last_change(conf: Path, revision: str) -> str:
    return _git(conf, "log", "-1", "--format=%H", revision, "--", ".").decode("ascii").strip()


def _git(conf: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(conf), *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=_GIT_LIMIT_S).stdout


def _told(key: str, ours: Values, now: Values, name: str) -> str:
    here, there = ours.get(key, _ABSENT), now.get(key, _ABSENT)
    return f"{key} is {_show(here)} in {name} but {_show(there)} in conf/"


def _show(value: object) -> str:
    return "absent" if value is _ABSENT else repr(value)
