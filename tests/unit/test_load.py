"""Sections of params.yaml, read and refused."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgepress.config.load import Off, Runtime, load_choice, load_runtime, load_section, read
from edgepress.errors import ConfigError


@dataclass(frozen=True)
class Fast:
    speed: int


CHOICES: dict[str, type[Off | Fast]] = {"none": Off, "fast": Fast}

TEXT = """
motor:
  name: fast
  speed: 3
car:
  wheel:
    speed: 4
brake:
  name: none
seed: 1
threads: 2
"""


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    return path


def test_a_choice_is_made_by_name(params: Path) -> None:
    assert load_choice("motor", CHOICES, params) == Fast(3)
    assert load_choice("brake", CHOICES, params) == Off()


def test_a_section_may_lie_deeper(params: Path) -> None:
    assert load_section("car.wheel", Fast, params) == Fast(4)


def test_the_runtime_is_read_from_the_top(params: Path) -> None:
    assert load_runtime(params) == Runtime(seed=1, threads=2)


def test_the_file_in_the_current_folder_is_read(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(params.parent)
    assert load_choice("motor", CHOICES) == Fast(3)


CHOICE_MISTAKES = {
    "name: fast": (
        "name: fats",
        "motor.name 'fats' is unknown; expected one of: fast, none. Did you mean 'fast'?",
    ),
    "  name: fast\n": ("", "motor.name None is unknown; expected one of: fast, none."),
    "name: fast\n": ("name: [fast]\n", "motor.name ['fast'] is unknown; expected one of: fast, none."),
    "  speed: 3": ("  sped: 3", "key 'motor.sped' is unknown; expected one of: motor.speed. Did you mean"),
    "speed: 3": ("speed: three", "motor.speed is 'three', a str; expected an integer."),
    "motor:": ("engine:", "motor is missing; expected a section with keys."),
    "motor:\n  name: fast\n  speed: 3": ("motor: fast", "motor is 'fast'; expected a section with keys."),
}


@pytest.mark.parametrize("old", CHOICE_MISTAKES)
def test_a_mistake_in_a_choice_is_named_with_its_remedy(params: Path, old: str) -> None:
    new, message = CHOICE_MISTAKES[old]
    params.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_choice("motor", CHOICES, params)
    assert str(error.value).startswith(message)
    assert str(error.value).endswith(" Set it in conf/motor/ or with -S.")


RUNTIME_MISTAKES = {
    "seed: 1": ("seed: -1", "seed is -1; expected an integer in [0, 2**32). Set it in conf/config.yaml."),
    "seed: 1\n": ("", "seed is missing; expected an integer. Set it in conf/config.yaml."),
    "threads: 2": (
        "threads: 0",
        "threads is 0; expected an integer in [1, 1024]. Set it in conf/config.yaml.",
    ),
}


@pytest.mark.parametrize("old", RUNTIME_MISTAKES)
def test_a_mistake_at_the_top_is_named_with_its_remedy(params: Path, old: str) -> None:
    new, message = RUNTIME_MISTAKES[old]
    params.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_runtime(params)
    assert str(error.value) == message


FILES = {
    b"": "is empty or not a mapping; restore it with: edgepress compose",
    b"- 1\n- 2\n": "is empty or not a mapping; restore it with: edgepress compose",
    b"a: [1\n": "is not valid YAML: while parsing a flow sequence",
    b"a: 1\na: 2\n": "is not valid YAML: while constructing a mapping at line 1, column 1 found dup",
    b"a:\n\t- 1\n": "is not valid YAML: ",
    b"a: &a [*a]\n": "holds more than 100,000 values or 50 levels, anchors included",
    b"a: &a [1,1,1,1,1,1,1,1,1]\n"
    + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in b"bcdefgh"): "anchors",
    b"a: " + b"[" * 100_000: "is nested more than 50 deep",
    b"- " * 100_000 + b"1": "is nested more than 50 deep",
    b"a: " + b"9" * 5000: "is not valid YAML: Exceeds the limit (4300 digits)",
    b"a: !!int ''": "is not valid YAML: ",
    b"a: 1\n---\nb: 2\n": "is not valid YAML: expected a single document",
    b"\xff\xfe\x00": "is not valid YAML:",
    b"a: !!python/object/apply:os.getcwd []\n": "is not valid YAML: could not determine a constructor",
}


@pytest.mark.parametrize("content", FILES)
def test_a_file_that_holds_no_sections_is_refused_in_one_line(params: Path, content: bytes) -> None:
    params.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_choice("motor", CHOICES, params)
    assert FILES[content] in str(error.value)
    assert "\n" not in str(error.value)


READ_AS_DVC_DOES = {
    "1e-3": 0.001,
    "010": 10,
    "0o10": 8,
    "1_000": 1000,
    "1:30": "1:30",
    "yes": "yes",
    "off": "off",
    "true": True,
    "'1'": "1",
}


@pytest.mark.parametrize("text", READ_AS_DVC_DOES)
def test_values_are_those_that_dvc_reads(params: Path, text: str) -> None:
    from dvc.utils.serialize import parse_yaml as dvc_reads

    params.write_text(f"a: {text}\n")
    value = read(params)["a"]
    assert (value, type(value)) == (READ_AS_DVC_DOES[text], type(READ_AS_DVC_DOES[text]))
    assert dvc_reads(params.read_text(), params)["a"] == value


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml does not exist; run this in the project's folder"):
        load_runtime(tmp_path / "params.yaml")


@dataclass(frozen=True)
class Named:
    name: str


def test_a_key_choice_says_which_where_name_is_a_value_of_its_own(params: Path) -> None:
    choices: dict[str, type[Fast | Named]] = {"fast": Fast, "electric": Named}
    params.write_text("motor: {choice: electric, name: fast}")
    assert load_choice("motor", choices, params) == Named("fast")
    params.write_text("motor: {choice: electrik, name: fast}")
    with pytest.raises(ConfigError, match=r"motor\.choice 'electrik' is unknown; .* Did you mean 'electric'"):
        load_choice("motor", choices, params)
