"""The documents speak of what is there."""

import re
from pathlib import Path

import pytest
import yaml

from edgepress.config import composition, validation
from tests.repo.closure import ROOT

DOCUMENTS = sorted(str(file.relative_to(ROOT)) for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHOICES = sorted((group, choice) for group, choices in validation.CHOICES.items() for choice in choices)


def test_the_documents_are_all_there() -> None:
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= set(DOCUMENTS)
    assert (ROOT / "LICENSE").is_file()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_into_the_repository_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    assert [target for target in targets if not (ROOT / document).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_of_the_repository_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:edgepress|stages|tests|conf|\.dvc|\.ci)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_the_table_of_options_names_every_choice(group: str, choice: str) -> None:
    options = README.split("## Options")[1].splitlines()
    row = next(line for line in options if line.startswith(f"| `{group}` |"))
    assert f"`{choice}`" in row


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_make_targets_exist(document: str) -> None:
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    text = (ROOT / document).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.MULTILINE)) <= targets


def test_the_table_of_stages_is_that_of_the_pipeline() -> None:
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    rows = re.findall(r"^\| `([\w-]+)` \| `(?:data|models|metrics)/", README, flags=re.MULTILINE)
    assert rows == stages


@pytest.mark.parametrize("document", ["README.md", "docs/devices.md"])
def test_every_parameter_in_the_recipes_can_be_set(document: str) -> None:
    """Each `-S` composes; the user's own network is named where one is asked for."""
    text = (ROOT / document).read_text(encoding="utf-8")
    commands = re.findall(r"^dvc exp run .*$", text, flags=re.MULTILINE)
    assert commands
    for command in commands:
        composition.compose(_overrides(command), Path(ROOT / "conf"))


def _overrides(command: str) -> list[str]:
    """The overrides of a command, of a sweep the first of each."""
    found = re.findall(r"-S (?:'([^']*)'|(\S+))", command)
    values = [quoted or plain for quoted, plain in found]
    single = [re.sub(r"=range\(([^,]+),.*", r"=\1", value) for value in values]
    return [value if re.search(r"[\[{]", value) else value.split(",")[0] for value in single]
