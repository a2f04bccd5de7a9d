"""Every choice in `conf/` composes and validates, and mistakes are refused by name."""

import copy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import onnxruntime
import pytest
import yaml

from edgepress.config import agreement, composition, quant, validation
from edgepress.config.device import ExecutionProvider
from edgepress.config.load import load_choice
from edgepress.errors import ConfigError
from tests.repo.closure import ROOT

CONF = ROOT / "conf"
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
OPTIONS = sorted((file.parent.name, file.stem) for file in CONF.glob("*/*.yaml"))
OFF = ["prune=none", "cluster=none"]
REQUIRED = {
    ("model", "custom"): ["model._target_=my_net.MyNet", "model.source=my_net.py"],
    ("model", "onnx"): ["model.path=net.onnx"],
    ("data", "image_folder"): ["data.path=photos.zip"],
    ("data", "inputs"): ["data.path=x.npz", "model=onnx", "model.path=net.onnx", *OFF],
    ("data", "npz"): ["data.path=my.npz", "data.layout=nhwc"],
    ("device", "adb"): ["device.serial=emulator-5554", "device.benchmark=/data/local/tmp/benchmark_model"],
    ("device", "ssh"): ["device.board=pi4"],
}
ENERGY = "device.energy={csv: meter.csv, seconds: 10, clock: host, timestamp: timestamp, watts: watts}"
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_the_execution_providers_are_those_of_onnxruntime() -> None:
    assert set(get_args(ExecutionProvider)) == set(onnxruntime.get_all_providers())


@pytest.mark.parametrize(("group", "choice"), OPTIONS)
def test_every_option_composes_and_validates(group: str, choice: str, tmp_path: Path) -> None:
    overrides = [f"{group}={choice}", *REQUIRED.get((group, choice), [])]
    params = tmp_path / "params.yaml"
    params.write_text(composition.compose(overrides, CONF))
    validation.validate(params)
    section = yaml.safe_load(params.read_text())[group]
    assert section.get("choice", section.get("name", choice)) == kind(group, choice)


def kind(group: str, choice: str) -> str:
    """The choice itself, or, where a user's own file builds upon one, such as a board's, that one."""
    above = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) or {}
    own = [name for name in above.get("defaults", []) if name in validation.CHOICES.get(group, ())]
    return next(iter(own), choice)


@pytest.mark.parametrize("group", sorted(validation.CHOICES))
def test_every_choice_has_a_file_of_its_name(group: str) -> None:
    assert set(validation.CHOICES[group]) == {
        kind(group, choice) for other, choice in OPTIONS if other == group
    }


def test_the_groups_are_the_sections() -> None:
    assert sorted([*validation.CHOICES, "train"]) == GROUPS


def test_params_yaml_is_the_composition_to_the_letter() -> None:
    assert composition.compose(conf=CONF) == PARAMS


def test_check_accepts_the_repository() -> None:
    assert agreement.check(ROOT / "params.yaml", CONF) == []


@pytest.mark.parametrize(
    ("variant", "told"),
    [
        (["prune.sparsity=0.8"], ["prune.sparsity is 0.8 in params.yaml but 0.5 in conf/"]),
        (["prune=m_by_n"], ["prune is 'm_by_n' in params.yaml but 'magnitude' in conf/"]),
        (["train.weight_decay=0"], ["train.weight_decay is 0 in params.yaml but 0.0001 in conf/"]),
        (
            ["quant=fp16", "model=mobilenet_v1", "model.width=0.5"],
            [
                "model.width is 0.5 in params.yaml but 0.25 in conf/",
                "model is 'mobilenet_v1' in params.yaml but 'resnet8' in conf/",
                "quant is 'fp16' in params.yaml but 'int8' in conf/",
            ],
        ),
        (
            ["model=timm", "device=ssh", "device.board=pi4"],
            [
                "device.board is 'pi4' in params.yaml but '???' in conf/",
                "model is 'timm' in params.yaml but 'resnet8' in conf/",
                "device is 'ssh' in params.yaml but 'local' in conf/",
            ],
        ),
    ],
)
def test_check_tells_how_a_variant_differs(tmp_path: Path, variant: list[str], told: list[str]) -> None:
    assert agreement.check(_written(tmp_path, *variant), _committed(tmp_path)) == told


def test_a_choice_of_a_group_of_ones_own_is_a_variant(tmp_path: Path) -> None:
    """Though `params.yaml` does not note which, as it does not for `train`."""
    conf = _with_own_group(_committed(tmp_path))
    params = tmp_path / "params.yaml"
    for overrides, told in (
        ([], []),
        (["logger=files"], ["logger is 'files' in params.yaml but 'online' in conf/"]),
        (["train=quick"], ["train is 'quick' in params.yaml but 'adamw_cosine' in conf/"]),
        (["logger.project=b"], ["logger.project is 'b' in params.yaml but 'a' in conf/"]),
    ):
        params.write_text(composition.compose(overrides, conf))
        assert agreement.check(params, conf) == told
    _git(conf, "add", ".")
    _git(conf, "commit", "--quiet", "--message", "A group of my own")
    params.write_text(composition.compose(["logger=files"], conf))
    (conf / "logger" / "files.yaml").write_text("folder: there\n")
    with pytest.raises(ConfigError, match=r"logger\.folder is 'here' in params\.yaml but 'there' in conf/"):
        agreement.check(params, conf)


def _with_own_group(conf: Path) -> Path:
    (conf / "logger").mkdir()
    (conf / "logger" / "online.yaml").write_text("project: a\nsize: 3\n")
    (conf / "logger" / "files.yaml").write_text("folder: here\n")
    quick = (conf / "train" / "adamw_cosine.yaml").read_text().replace("epochs: 15", "epochs: 1")
    (conf / "train" / "quick.yaml").write_text(quick.replace("patience: 10", "patience: 1"))
    config = conf / "config.yaml"
    config.write_text(config.read_text().replace("defaults:", "defaults:\n  - logger: online"))
    return conf


def test_an_edit_in_conf_that_was_not_composed_is_no_variant(tmp_path: Path) -> None:
    """Neither before it is committed nor after, nor in a choice other than the default."""
    variant = ["quant=int8_qat", "prune.sparsity=0.8"]
    conf, params = _committed(tmp_path), _written(tmp_path, *variant)
    choice = conf / "quant" / "int8_qat.yaml"
    choice.write_text(choice.read_text().replace("range_momentum: 0.99", "range_momentum: 0.9"))
    _assert_not_composed(params, conf)
    _git(conf, "commit", "--quiet", "--all", "--message", "Edit")
    _assert_not_composed(params, conf)
    params.write_text(composition.compose(variant, conf))
    assert len(agreement.check(params, conf)) == 2


def _assert_not_composed(params: Path, conf: Path) -> None:
    with pytest.raises(ConfigError, match=r"^params\.yaml differs from conf/: ") as error:
        agreement.check(params, conf)
    assert "quant.range_momentum is 0.99 in params.yaml but 0.9 in conf/. To take over" in str(error.value)
    assert "sparsity" not in str(error.value)


def test_another_default_choice_that_was_not_composed_is_no_variant(tmp_path: Path) -> None:
    conf, params = _committed(tmp_path), _written(tmp_path)
    config = conf / "config.yaml"
    config.write_text(config.read_text().replace("quant: int8", "quant: fp16"))
    with pytest.raises(ConfigError, match=r"quant is 'int8' in params\.yaml but 'fp16' in conf/"):
        agreement.check(params, conf)


def test_without_git_any_difference_is_refused(tmp_path: Path) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    with pytest.raises(ConfigError, match=r"prune\.sparsity is 0\.8 in params\.yaml but 0\.5 in conf/"):
        agreement.check(_written(tmp_path, "prune.sparsity=0.8"), tmp_path / "conf")


def _committed(folder: Path) -> Path:
    """A copy of conf/ in a repository of its own."""
    conf = folder / "conf"
    shutil.copytree(CONF, conf)
    _git(folder, "init", "--quiet")
    _git(folder, "add", "conf")
    _git(folder, "commit", "--quiet", "--message", "Start")
    return conf


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


MISTAKES = {
    "quant=in8": (
        f"quant 'in8' is unknown; expected one of: {', '.join(sorted(quant.CHOICES))}. Did you mean 'int8'?"
    ),
    "qant=int8": "key 'qant' is unknown; expected one of: cluster, .*Did you mean 'quant'?",
    "prune.sparsty=0.5": "key 'prune.sparsty' is unknown; .*Did you mean 'prune.sparsity'?",
    "prune.sparsity": "missing EQUAL",
    "prune.ramp=${nope}": "Interpolation key 'nope' not found. For groups, choices and keys see conf/",
}


NAMELESS = [
    "quant=null",
    "quant=false",
    "quant=8",
    "quant=1.5",
    "quant=[int8]",
    "quant={a: 1}",
    "+quant=null",
]


@pytest.mark.parametrize("override", NAMELESS)
def test_a_choice_that_is_no_name_is_refused(override: str) -> None:
    value = override.partition("=")[2]
    with pytest.raises(ConfigError) as error:
        composition.compose([override], CONF)
    _assert_line(
        str(error.value),
        f"quant={value} is no name of a choice; expected one of: {', '.join(sorted(quant.CHOICES))}. "
        "To switch it off: quant=none.",
    )


TWO_READINGS = {
    "shift: 010": "augment.shift in .*adamw_cosine.yaml is 10 in YAML 1.2, .*but 8 in YAML 1.1",
    "shift: 1:30": "augment.shift in .*is '1:30' in YAML 1.2, .*but 90 in YAML 1.1",
    "shift: yes": "augment.shift in .*is 'yes' in YAML 1.2, .*but True in YAML 1.1",
    "shift: [2, off]": "augment.shift[1] in .*is 'off' in YAML 1.2, .*but False in YAML 1.1",
    "shift: 0o10": "augment.shift in .*is 8 in YAML 1.2, .*but '0o10' in YAML 1.1",
    "shift: 2024-01-01": "augment.shift in .*but '2024-01-01' in YAML 1.1",
    "on: 1": "augment.on in .*is 1 in YAML 1.2, .*but absent in YAML 1.1",
    "shift: 2\n  shift: 3": "adamw_cosine.yaml is not valid YAML: .*found duplicate key",
    "\tshift: 3": "adamw_cosine.yaml is not valid YAML: .*cannot start any token",
    "shift: &a [*a]": "adamw_cosine.yaml holds more than",
    "shift: 2\t": "adamw_cosine.yaml is not valid YAML 1.1, as Hydra reads it: .*cannot start any token",
    "shift: {[1, 2]: 3}": "adamw_cosine.yaml has the key (1, 2); expected a name",
    "shift: {~: 3}": "adamw_cosine.yaml has the key None; expected a name",
}


@pytest.mark.parametrize("line", TWO_READINGS)
def test_values_that_hydra_and_dvc_read_differently_are_refused(line: str, tmp_path: Path) -> None:
    conf = _conf_with(tmp_path, "train/adamw_cosine.yaml", "shift: 2", line)
    with pytest.raises(ConfigError) as error:
        composition.compose([], conf)
    _assert_line(str(error.value), TWO_READINGS[line])


@pytest.mark.parametrize("content", ["3", "[1]", "text"])
def test_a_file_without_keys_is_refused(content: str, tmp_path: Path) -> None:
    conf = _conf_with(tmp_path, "train/adamw_cosine.yaml", "shift: 2", "shift: 3")
    (conf / "train" / "adamw_cosine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"adamw_cosine\.yaml is .*; expected a section with keys$"):
        composition.compose([], conf)


@pytest.mark.parametrize("line", ["shift: 1_0", "shift: 0x10", "shift: +2", "shift: !!int 3"])
def test_values_that_both_read_alike_are_taken(line: str, tmp_path: Path) -> None:
    composition.compose([], _conf_with(tmp_path, "train/adamw_cosine.yaml", "shift: 2", line))


def test_a_text_that_dvc_would_read_as_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.path is '0o10', but DVC would read 8 in params\.yaml"):
        composition.compose(["data=npz", "data.layout=nf", "data.path=0o10"], CONF)


def _conf_with(folder: Path, file: str, old: str, new: str) -> Path:
    conf = folder / "conf"
    shutil.copytree(CONF, conf)
    text = (conf / file).read_text()
    assert old in text
    (conf / file).write_text(text.replace(old, new))
    return conf


@pytest.mark.parametrize("override", MISTAKES)
def test_compose_refuses_what_hydra_cannot_compose(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        composition.compose([override], CONF)
    _assert_line(str(error.value), MISTAKES[override])


WITHOUT_CLASSES = ["data=image_folder", "data.path=photos", "data.classes=false"]
WRONG_VALUES = {
    "prune.sparsity=1.5": "prune.sparsity is 1.5; expected a number in [0, 1). Set it in conf/prune/ or with",
    "prune.sparsity=half": "prune.sparsity is 'half', a str; expected a number. Set it in conf/prune/",
    "train.epochs=1.5": "train.epochs is 1.5, a float; expected an integer. Set it in conf/train/",
    "train.augment.flip=1": "train.augment.flip is 1, an int; expected true or false. Set it in conf/train/",
    "model.hidden=[8]": "key 'model.hidden' is unknown",
    "+prune.sparsty=0.5": "key 'prune.sparsty' is unknown; expected .*Did you mean 'prune.sparsity'?",
    "+prun=1": "section 'prun' is unknown; expected one of: cluster, convert,.*Did you mean 'prune'?",
    "+Models=1": "section 'Models' is unknown; .*Did you mean 'model'?",
    "quant.calibration.method=minmx": "expected one of: entropy, minmax, percentile. Did you mean 'minmax'?",
    "model=custom": "model._target_ is not set; give it a value, e.g. dvc exp run -S 'model._target_=...'",
    "device=ssh": "device.board is not set; give it a value, e.g. dvc exp run -S 'device.board=...'",
    "model=onnx": "model.path is not set; give it a value, e.g. dvc exp run -S 'model.path=...'",
    "data=image_folder": "data.path is not set; give it a value, e.g. dvc exp run -S 'data.path=...'",
    "data.path=photos.zip": "data.path is 'photos.zip'; expected .*for data of your own choose data=image",
    "data.splits.test=0.9": "data.splits.test + splits.validation is 1.05; expected less than 1",
    "seed=-1": "seed is -1; expected an integer in [0, 2**32). Set it in conf/config.yaml.",
    "threads=two": "threads is 'two', a str; expected an integer. Set it in conf/config.yaml.",
    "~cluster": "cluster is missing; expected a section with keys. Set it in conf/cluster/",
}


@pytest.mark.parametrize("override", WRONG_VALUES)
def test_validate_refuses_what_no_stage_can_take(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        validation.validate(_written(tmp_path, override))
    _assert_line(str(error.value), WRONG_VALUES[override])


NUMBERS = (float("inf"), float("-inf"), float("nan"), 1e30, -1, 2**63, 10**400)
MAY_BE_NEGATIVE = {"mean": "a mean of inputs lies where they lie"}
TEXTS = ("", " ", "a\nb", "a\x00", "a\u2028b", "\ud800", "a" * 5000)
OTHER_TYPES = (True, 1.5, "text", [[1]], {"a": 1})
FREE = {"arguments": "the user's own class takes what it likes"}
FILLED: dict[tuple[str, str], list[str]] = {
    ("model", "onnx"): ["model.mean=[1.5]", "model.std=[2.5]"],
    ("device", "local"): ["device.kernels.cpus=[0]", "device.timing.batch_sizes=[1]", ENERGY],
}


@pytest.mark.parametrize(("group", "choice"), [*OPTIONS, ("seed", ""), ("threads", "")])
def test_no_number_is_without_bounds_and_no_text_without_form(group: str, choice: str) -> None:
    """Each number of each section in turn is infinite, huge, negative or NaN; each text is no line.

    And each value is of another type.
    """
    filled = [*REQUIRED.get((group, choice), []), *FILLED.get((group, choice), [])]
    composed = yaml.safe_load(composition.compose([f"{group}={choice}", *filled] if choice else [], CONF))
    validation.validate(composed)
    tried = 0
    for path, value in _leaves(composed[group], (group,)):
        if set(path) & FREE.keys():
            continue
        wrong: tuple[object, ...] = (
            NUMBERS if type(value) in (int, float) else TEXTS if isinstance(value, str) else ()
        )
        for bad in (*wrong, *_of_other_types(value)):
            changed = copy.deepcopy(composed)
            _set(changed, path, bad)
            if bad == -1 and set(path) & MAY_BE_NEGATIVE.keys():
                validation.validate(changed)
                continue
            with pytest.raises(ConfigError) as error:
                validation.validate(changed)
            assert str(error.value).isprintable(), (path, bad)
            assert any(str(key) in str(error.value) for key in path[-2:]), (path, bad)
            assert len(str(error.value)) < 800
            tried += 1
    assert tried


def _of_other_types(value: object) -> list[object]:
    """An integer may stand for a number, and a text for null."""
    like = 1.5 if type(value) is int else "text" if value is None else value
    return [other for other in OTHER_TYPES if type(other) is not type(like)]


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], object]]:
    """The values in a section, with the keys and places in lists that lead there."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in below:
        yield from _leaves(inner, (*path, key))
    if not isinstance(value, dict | list):
        yield path, value


def _set(values: Any, path: tuple[Any, ...], value: object) -> None:
    for key in path[:-1]:
        values = values[key]
    values[path[-1]] = value


def test_what_learns_from_classes_is_refused_where_the_data_has_none(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    trained = [*WITHOUT_CLASSES, "model=onnx", "model.path=net.onnx"]
    for overrides, expected in (
        (WITHOUT_CLASSES, "model is to be trained, but the data has no classes to learn; expected a trained"),
        (trained, "prune.fine_tune.epochs is 6, but the data has no classes to learn; expected 0, or prune."),
        ([*trained, "prune=none"], "cluster.fine_tune.epochs is 4, but the data has no classes to learn"),
        (
            [*trained, *OFF, "quant=int8_qat"],
            "quant.fine_tune.epochs is 4, .*distillation=1 .*quant=int8",
        ),
    ):
        params.write_text(composition.compose(overrides, CONF))
        with pytest.raises(ConfigError) as error:
            validation.validate(params)
        _assert_line(str(error.value), expected)
    params.write_text(composition.compose([*trained, *OFF], CONF))
    validation.validate(params)


NAMED = ["data=npz", "data.path=x.npz", "data.layout=named"]
BENCHMARK = ["device=adb", "device.serial=phone", "device.benchmark=/there"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["convert=none", "device=tflm"],
            "device is tflm, which runs .tflite files alone, but convert is none;",
        ),
        (["convert=none", "device=ethos_u"], "device is ethos_u, which runs .tflite files alone"),
        (["convert=none", *BENCHMARK], "device is adb, which runs .tflite files alone"),
        (
            ["convert=none", "device=fleet", "+device.members.micro={name: tflm}"],
            "device.members.micro is tflm,",
        ),
        (
            ["convert=none", "convert.suffix=tflite"],
            "convert.suffix is 'tflite'; expected 'absent' for convert=",
        ),
        (
            NAMED,
            "model is to be trained on images or vectors, but data.layout is 'named'; expected a trained",
        ),
        (
            [*NAMED, "model=onnx", "model.path=n.onnx", "convert=onnx_tf"],
            "convert is onnx_tf, which takes images",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(composition.compose(overrides, CONF))
    with pytest.raises(ConfigError) as error:
        validation.validate(tmp_path / "params.yaml")
    _assert_line(str(error.value), expected)


def test_onnx_runtime_alone_is_enough_for_devices_that_have_it(tmp_path: Path) -> None:
    for overrides in ([], ["device=adb", "device.serial=phone", "device.python=/there"], ["device=fleet"]):
        (tmp_path / "params.yaml").write_text(composition.compose(["convert=none", *overrides], CONF))
        validation.validate(tmp_path / "params.yaml")


@pytest.mark.parametrize("override", ["+extra=1", "+dataset.name=mine", "+wandb={project: x, size: 3}"])
def test_sections_of_the_users_own_are_let_be(override: str, tmp_path: Path) -> None:
    validation.validate(_written(tmp_path, override))


def test_weights_of_a_file_are_what_dvc_watches() -> None:
    choice = ["model=timm", "model.name=resnet18", "model.weights=mine.pth"]
    assert yaml.safe_load(composition.compose(choice, CONF))["model"]["source"] == "mine.pth"
    assert (ROOT / yaml.safe_load(composition.compose(choice[:1], CONF))["model"]["source"]).is_file()


def test_a_hand_written_choice_is_refused_by_name(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(PARAMS.replace("name: int8", "name: int4"))
    with pytest.raises(
        ConfigError, match=r"quant\.name 'int4' is unknown; .* Set it in conf/quant/ or with -S\.$"
    ):
        load_choice("quant", validation.CHOICES["quant"], params)


def _written(folder: Path, *overrides: str) -> Path:
    params = folder / "params.yaml"
    params.write_text(composition.compose(overrides, CONF))
    return params


def _assert_line(message: str, expected: str) -> None:
    """One line that holds the parts of `expected`, which stand between `.*`, in their order."""
    assert "\n" not in message
    rest: Any = message
    for part in expected.split(".*"):
        assert part in rest, message
        rest = rest.split(part, 1)[1]
