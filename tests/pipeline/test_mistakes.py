"""Each mistake ends with one clear line and leaves nothing half-written."""

import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgepress.config import quant
from tests.pipeline.project import STAGES, Project, error_lines, stages_run

FULL_AT_BYTES = 3

GROUP = f"expected one of: {', '.join(sorted(quant.CHOICES))}."
REFUSED_BY_EXP_RUN = {
    ("quant=in8",): f"quant 'in8' is unknown; {GROUP} Did you mean 'int8'?",
    ("quant=null",): f"quant=null is no name of a choice; {GROUP} To switch it off: quant=none.",
    ("qant=int8",): "key 'qant' is unknown; expected one of: cluster, .* Did you mean 'quant'?",
    ("prune.sparsty=0.5",): "key 'prune.sparsty' is unknown; .* Did you mean 'prune.sparsity'?",
    ("quant=int8,null", "--queue"): f"quant=null is no name of a choice; {GROUP} .*",
    ("prune.sparsity=0.2,1.8", "--queue"): "prune.sparsity is 1.8; expected a number in [0, 1). .*",
    ("quant.calibration.samples=200",): "quant.calibration.samples is 200, but data.splits.calibration .*",
}


def test_exp_run_refuses_in_one_line_and_changes_nothing(project: Project) -> None:
    before = _state(project)
    for arguments, line in REFUSED_BY_EXP_RUN.items():
        result = project.dvc("exp", "run", "-S", *arguments, check=False)
        assert (result.returncode, result.stdout) == (255, "")
        pattern = ".*".join(map(re.escape, line.split(".*")))
        assert re.fullmatch(f"ERROR: {pattern}\n", result.stderr), result.stderr
        assert _state(project) == before
    assert "No experiment tasks in the queue" in project.dvc("queue", "status").stdout


REFUSED_BY_A_STAGE: dict[str, tuple[dict[str, Any], str]] = {
    "unknown choice": (
        {"quant__name": "in8"},
        f"error: quant.name 'in8' is unknown; {GROUP} Did you mean 'int8'? Set it in conf/quant/ or with -S.",
    ),
    "misspelt key": (
        {"cluster__number_of_cluster": 8},
        "error: key 'cluster.number_of_cluster' is unknown; expected one of: ",
    ),
    "out of range": (
        {"prune__sparsity": 1.5},
        "error: prune.sparsity is 1.5; expected a number in [0, 1). Set it in conf/prune/ or with -S.",
    ),
    "far too large": (
        {"data__size": 10**6},
        "error: data.size is 1000000; expected an integer in [8, 256]. Set it in conf/data/ or with -S.",
    ),
    "of the last stage": (
        {"device__kernels__threads": 2**63},
        "error: device.kernels.threads is 9223372036854775808; expected a number of at most 16 digits. Set ",
    ),
    "more samples than are set aside": (
        {"quant__calibration__samples": 200},
        "error: quant.calibration.samples is 200, but data.splits.calibration sets only 128 samples aside; ",
    ),
    "batch of training": (
        {"train__batch_size": 951},
        "error: train.batch_size is 951, but the training split has 950 samples; expected at most as many. ",
    ),
    "batch of fine-tuning": (
        {"cluster__fine_tune__batch_size": 1000},
        "error: cluster.fine_tune.batch_size is 1000, but the training split has 950 samples; expected at ",
    ),
    "wrong type": (
        {"train__epochs": "two"},
        "error: train.epochs is 'two', a str; expected an integer. Set it in conf/train/ or with -S.",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED_BY_A_STAGE)
def test_a_wrong_parameter_is_named_and_its_correction_restores_all(project: Project, mistake: str) -> None:
    changes, message = REFUSED_BY_A_STAGE[mistake]
    before = project.hashes()
    project.edit_params(**changes)
    result = project.dvc("repro", check=False)
    assert result.returncode != 0
    assert stages_run(result) == (["check-params", "check-data"] if "batch" in mistake else ["check-params"])
    assert [line[: len(message)] for line in error_lines(result)] == [message]
    assert "Traceback" not in result.stderr
    project.git("checkout", "params.yaml")
    assert stages_run(project.dvc("repro")) == []
    assert project.hashes() == before


def test_an_edit_in_conf_alone_is_found(project: Project) -> None:
    choice = project.folder / "conf" / "quant" / "int8.yaml"
    choice.write_text(choice.read_text().replace("per_channel: true", "per_channel: false"))
    result = project.run("python", "-m", "edgepress.cli", "check", check=False)
    assert result.returncode == 1
    assert error_lines(result) == [
        "error: params.yaml differs from conf/: quant.per_channel is True in params.yaml but False in conf/. "
        "To take over an edit in conf/, or to return to conf/: edgepress compose. "
        "To keep the values of params.yaml, make them the default in conf/"
    ]


def test_an_operator_that_the_translator_lacks_is_named_with_what_goes_without(project: Project) -> None:
    path = project.folder / "models" / "quantize" / "model.onnx"
    model = onnx.load(path)
    _append(model.graph, "RandomUniformLike", "strange")
    onnx.save(model, path)
    line = _refused(project, "convert_tflite")
    assert "RandomUniformLike" in line
    assert "strange" in line
    assert "convert=none" in line


INPUTS = {
    "train": ["data/prepared/train/x.npy", "data/prepared/description.json"],
    "export_onnx": ["models/train/model.pt"],
    "prune": ["models/export-onnx/model.onnx"],
    "cluster": ["models/prune/model.onnx"],
    "quantize": ["models/cluster/model.onnx", "data/prepared/calibration/x.npy"],
    "convert_tflite": ["models/quantize/model.onnx"],
    "evaluate_on_device": ["models/convert-tflite/model.tflite", "models/quantize/model.onnx"],
}


@pytest.mark.parametrize(("stage", "damaged"), [(stage, path) for stage in INPUTS for path in INPUTS[stage]])
def test_a_truncated_artifact_is_named_with_its_remedy(project: Project, stage: str, damaged: str) -> None:
    path = project.folder / damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    line = _refused(project, stage)
    assert damaged in line or str(Path(damaged).parent) in line
    assert "dvc repro" in line


@pytest.mark.parametrize("stage", INPUTS)
def test_an_absent_artifact_is_named_with_its_remedy(project: Project, stage: str) -> None:
    absent = INPUTS[stage][0]
    (project.folder / absent).unlink()
    line = _refused(project, stage)
    assert absent in line
    assert "dvc repro" in line


def test_no_calibration_data_is_refused_rather_than_made_up(project: Project) -> None:
    for name in ("x", "y"):
        path = project.folder / "data" / "prepared" / "calibration" / f"{name}.npy"
        np.save(path, np.load(path)[:0])
    line = _refused(project, "quantize")
    assert "quant.calibration.samples is 32 but the calibration split has 0" in line
    assert "raise data.splits.calibration" in line


def test_a_loss_that_is_no_number_is_an_error(project: Project) -> None:
    project.edit_params(train__learning_rate=10.0, train__weight_decay=10.0)
    line = _refused(project, "train")
    assert re.search(r"_loss is (nan|inf) in epoch 1; .* Lower train\.learning_rate", line)


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_is_named_and_leaves_the_old_files(project: Project, stage: str) -> None:
    line = _refused(project, stage.replace("-", "_"), full_disk=True)
    assert re.search("cannot (write|be written)", line)
    assert line.endswith("; free some space and run again")


def _refused(project: Project, stage: str, full_disk: bool = False) -> str:
    """The line with which a stage fails, having changed nothing."""
    before = _state(project)
    result = project.stage(stage, before=_fill_disk if full_disk else None)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert _state(project) == before
    (line,) = error_lines(result)
    return line


def _fill_disk() -> None:
    """Let no file grow any more, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT_BYTES, FULL_AT_BYTES))


def _state(project: Project) -> dict[str, bytes]:
    return {name: (project.folder / name).read_bytes() for name in sorted(project.files())}


def _append(graph: onnx.GraphProto, op: str, name: str) -> None:
    """Put an operator behind a graph's output."""
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["before" if one == output else one for one in node.output]
    graph.node.append(helper.make_node(op, ["before"], [output], name=name))
