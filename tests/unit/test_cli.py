"""The command `edgepress`, on a copy of the project's configuration."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from edgepress.cli import main
from edgepress.config.composition import compose

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "params.yaml").write_text(compose(conf=ROOT / "conf"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_is_content_with_a_fresh_composition(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert capsys.readouterr() == ("params.yaml is valid and equals conf/\n", "")


def test_an_edit_in_conf_is_found_and_composed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choice = project / "conf" / "prune" / "magnitude.yaml"
    choice.write_text(choice.read_text().replace("sparsity: 0.5", "sparsity: 0.8"))
    assert main(["check"]) == 1
    assert "prune.sparsity is 0.5 in params.yaml but 0.8 in conf/" in capsys.readouterr().err
    assert main(["compose"]) == 0
    assert main(["check"]) == 0
    assert yaml.safe_load((project / "params.yaml").read_text())["prune"]["sparsity"] == 0.8


def test_compose_takes_hydras_overrides(project: Path) -> None:
    assert main(["compose", "quant=fp16", "train.epochs=2"]) == 0
    composed = yaml.safe_load((project / "params.yaml").read_text())
    assert (composed["quant"], composed["train"]["epochs"]) == ({"name": "fp16"}, 2)


def test_compose_without_overrides_undoes_an_experiment(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    assert main(["compose", "prune=none"]) == 0
    assert (project / "params.yaml").read_bytes() != before
    assert main(["compose"]) == 0
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "override", ["quant=in8", "prune.sparsty=1", "prune.sparsity=1.5", "~prune", "quant=a=b"]
)
def test_a_mistake_gives_one_line_and_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    before = (project / "params.yaml").read_bytes()
    assert main(["compose", override]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert (project / "params.yaml").read_bytes() == before
    assert sorted(os.listdir(project)) == ["conf", "params.yaml"]


def test_broken_yaml_in_conf_gives_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "conf" / "quant" / "int8.yaml").write_text("a: [1\n")
    assert main(["check"]) == 1
    err = capsys.readouterr().err
    assert "while parsing a flow sequence" in err
    assert "int8.yaml" in err
    assert err.count("\n") == 1


def test_a_folder_without_conf_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compose"]) == 1
    assert "conf' exists and readable" in capsys.readouterr().err


def test_a_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr() == (
        "",
        "error: the following arguments are required: command; see: edgepress --help\n",
    )
