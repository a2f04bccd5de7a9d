"""`dvc.yaml` declares all that each stage depends on, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgepress.config import validation
from edgepress.config.convert import ABSENT, TFLITE
from tests.repo.closure import ROOT, closure, lazy, path, says_nothing, tree

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
ORDER = [
    "check-params",
    "prepare-data",
    "check-data",
    "rehearse",
    "train",
    "export-onnx",
    "prune",
    "cluster",
    "quantize",
    "convert-tflite",
    "evaluate-on-device",
]
SOURCE = "${model.source}"
DATA = "${data.path}"
SUFFIX = "${convert.suffix}"
WHOLE = "params.yaml"

every_stage = pytest.mark.parametrize("stage", ORDER)


def test_the_stages_are_these_in_order() -> None:
    assert list(STAGES) == ORDER


def test_every_module_in_stages_is_a_stage() -> None:
    modules = {file.stem for file in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert modules == {stage.replace("-", "_") for stage in ORDER}


@every_stage
def test_command_runs_the_module_of_the_stages_name(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"python -m {_module(stage)}"


@every_stage
def test_deps_hold_every_module_that_the_stage_imports(stage: str) -> None:
    needed = _needed(stage)
    missing = {file for file in needed if not any(_covers(dep, file) for dep in _code_deps(stage))}
    assert not missing, f"add to stages.{stage}.deps in dvc.yaml: {_list(missing)}"


@every_stage
def test_every_code_dep_holds_something_that_the_stage_imports(stage: str) -> None:
    needed = _needed(stage)
    superfluous = [dep for dep in _code_deps(stage) if not any(_covers(dep, file) for file in needed)]
    assert not superfluous, f"an edit of these would rerun {stage} for nothing: {_list(set(superfluous))}"


@every_stage
def test_params_hold_every_section_that_the_stage_loads(stage: str) -> None:
    declared = {*STAGES[stage].get("params", []), *({WHOLE} & set(STAGES[stage]["deps"]))}
    loaded = set(_loaded(stage))
    assert {key for key in loaded if not any(_below(key, one) for one in declared)} == set(), "not declared"
    assert {key for key in declared if not any(_below(one, key) for one in loaded)} == set(), "not loaded"


@every_stage
def test_other_deps_are_outputs_of_earlier_stages(stage: str) -> None:
    earlier = {out for other in ORDER[: ORDER.index(stage)] for out in _outputs(other)}
    artifacts = {dep for dep in STAGES[stage]["deps"] if not _is_code(dep)} - {SOURCE, DATA, WHOLE}
    assert {one.replace(SUFFIX, TFLITE) for one in artifacts} <= earlier


@every_stage
def test_what_the_stage_reads_of_other_stages_is_declared(stage: str) -> None:
    declared = set(STAGES[stage]["deps"]) | set(_outputs(stage))
    assert [file for file in _mentioned(stage) if not any(_covers(one, file) for one in declared)] == []


@every_stage
def test_models_and_metrics_lie_where_the_stages_name_says(stage: str) -> None:
    for output in map(Path, _outputs(stage)):
        assert output.parts[0] in ("data", "models", "metrics")
        if output.parts[0] == "models":
            assert output.parts[1] == stage


@every_stage
def test_a_stage_that_makes_a_model_measures_it(stage: str) -> None:
    if any(output.startswith("models/") for output in _outputs(stage)):
        assert f"metrics/{stage}.json" in _paths(STAGES[stage].get("metrics", []))


@every_stage
@pytest.mark.parametrize("kind", ["outs", "metrics", "plots"])
def test_outputs_are_cached(stage: str, kind: str) -> None:
    """An output with `cache: false` would keep the shared run cache from restoring a colleague's run."""
    for output in STAGES[stage].get(kind, []):
        options = next(iter(output.values())) if isinstance(output, dict) else {}
        assert options.get("cache", True) is True
        assert options.get("persist", False) is False


def test_all_parameters_are_checked_before_any_other_stage() -> None:
    """Every stage has the check among those that come before it, and the check has none."""
    assert _before("check-params") == set()
    for stage in ORDER[1:]:
        assert "check-params" in _before(stage), stage
    for stage in ORDER[ORDER.index("train") :]:
        assert "check-data" in _before(stage), stage


def _before(stage: str) -> set[str]:
    """The stages that DVC runs before a stage, for what it depends on."""
    read = STAGES[stage]["deps"]
    direct = {other for other in ORDER if any(_covers(dep, out) for dep in read for out in _outputs(other))}
    return direct.union(*(_before(other) for other in direct))


def test_stages_notice_the_values_that_dvc_overlooks() -> None:
    """Where a section may hold a key of a name that DVC's run cache leaves out, such as `data.size`."""
    from dvc.stage.cache import _get_cache_hash

    values = {"data": {"size": 1, "splits": [{"nfiles": 2}]}, "model": {"a": {"size": 3}}, "own": {"size": 4}}
    assert _get_cache_hash({"params": values}) != _get_cache_hash({"params": {**values, "seed": 0}})
    assert _get_cache_hash({"params": values}) == _get_cache_hash(
        {"params": {"data": {"splits": [{}]}, "model": {"a": {}}, "own": {}}}
    )
    assert dict(validation.overlooked(values)) == {
        "data.size": "1",
        "data.splits.0.nfiles": "2",
        "model.a.size": "3",
    }
    for stage in ORDER[1:]:
        if {"data", "model", "device"} & set(STAGES[stage].get("params", ())):
            assert "data/checked/params" in STAGES[stage]["deps"], stage


def test_stages_that_build_the_network_depend_on_the_chosen_architecture() -> None:
    assert [stage for stage in ORDER if SOURCE in STAGES[stage]["deps"]] == _stages_with_architectures()


def test_the_stage_that_prepares_the_data_depends_on_the_users_data() -> None:
    assert [stage for stage in ORDER if DATA in STAGES[stage]["deps"]] == ["prepare-data"]


def _stages_with_architectures() -> list[str]:
    return [stage for stage in ORDER if "edgepress.architectures.registry" in closure(_module(stage))]


def _needed(stage: str) -> set[str]:
    """The files of the stage's closure; an architecture itself is covered by the template in `deps`."""
    modules = closure(_module(stage))
    registry = "edgepress.architectures.registry"
    chosen = lazy(registry) if registry in modules else set()
    return {path(module).as_posix() for module in modules - chosen if not says_nothing(module)}


def _module(stage: str) -> str:
    return f"stages.{stage.replace('-', '_')}"


def _is_code(dep: str) -> bool:
    return dep.split("/")[0] in ("edgepress", "stages")


def _code_deps(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if _is_code(dep)]


def _covers(dep: str, file: str) -> bool:
    return file == dep or file.startswith(f"{dep}/")


def _files(dep: str) -> list[str]:
    if not (ROOT / dep).is_dir():
        return [dep]
    return [file.relative_to(ROOT).as_posix() for file in (ROOT / dep).rglob("*.py")]


def _below(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


def _paths(outputs: list[Any]) -> list[str]:
    return [next(iter(output)) if isinstance(output, dict) else output for output in outputs]


def _outputs(stage: str) -> list[str]:
    """What a stage makes, whatever is chosen."""
    found = [out for kind in ("outs", "metrics", "plots") for out in _paths(STAGES[stage].get(kind, []))]
    return [
        out.replace(SUFFIX, suffix) for out in found for suffix in (TFLITE, ABSENT)[: 1 + (SUFFIX in out)]
    ]


def _list(files: set[str]) -> str:
    return ", ".join(sorted(files))


def _loaded(stage: str) -> Iterator[str]:
    """The sections of params.yaml that the stage's module names."""
    module = tree(_module(stage))
    for call in _calls(module):
        if call.func.id in ("load_section", "load_choice"):
            yield ast.literal_eval(call.args[0])
        elif call.func.id == "load_name":
            yield f"{ast.literal_eval(call.args[0])}.name"
        elif call.func.id in ("validate", "read"):
            yield WHOLE
        elif call.func.id == "load_runtime":
            yield from _used_of_runtime(module)


def _used_of_runtime(module: ast.Module) -> set[str]:
    """Which of `seed` and `threads` the module uses; both where it hands the pair on."""
    names = {
        target.id
        for node in ast.walk(module)
        if isinstance(node, ast.Assign) and "load_runtime" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    attributes = [node for node in ast.walk(module) if isinstance(node, ast.Attribute)]
    single = {id(node.value): node.attr for node in attributes if isinstance(node.value, ast.Name)}
    uses = [
        single.get(id(node))
        for node in ast.walk(module)
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load)
    ]
    used = {use for use in uses if use is not None}
    return used if used and None not in uses else {"seed", "threads"}


def _mentioned(stage: str) -> Iterator[str]:
    """The models and metrics that the stage's module names by their stage."""
    module = tree(_module(stage))
    constants = dict(_constants(module))
    functions = ("model_path", "metrics_path", "pass_through")
    for call in (call for call in _calls(module) if call.func.id in functions):
        arguments = [_text(argument, constants) for argument in call.args]
        if call.func.id == "model_path":
            name = arguments[1] if len(arguments) > 1 else "model.onnx"
            yield f"models/{arguments[0]}/{name}"
        elif call.func.id == "metrics_path":
            yield f"metrics/{arguments[0]}.json"
        else:
            yield f"models/{arguments[0]}/model.onnx"
            yield f"metrics/{arguments[0]}.json"


def _constants(module: ast.Module) -> Iterator[tuple[str, Any]]:
    """The names that the module gives to texts, one by one or several in a line."""
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name | ast.Tuple):
            pair = (target, node.value)
            names, values = (part.elts if isinstance(part, ast.Tuple) else [part] for part in pair)
            for name, value in zip(names, values, strict=False):
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant):
                    yield name.id, value.value


def _text(argument: ast.expr, constants: dict[str, Any]) -> Any:
    return constants[argument.id] if isinstance(argument, ast.Name) else ast.literal_eval(argument)


def _calls(module: ast.Module) -> list[Any]:
    """The calls of plain names."""
    nodes = (node for node in ast.walk(module) if isinstance(node, ast.Call))
    return [node for node in nodes if isinstance(node.func, ast.Name) and re.match(r"[a-z]", node.func.id)]
