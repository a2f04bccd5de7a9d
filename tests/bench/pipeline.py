"""Sections on what the pipeline itself costs: a whole run, a run with nothing to do, switched-off stages."""

from collections.abc import Callable
from functools import partial

from tests.bench.figures import in_turns, ratio, spread, table
from tests.bench.workspace import Bench, bare_project, compose
from tests.pipeline.project import Project, copy_project, stages_run

SWITCHED_OFF = {"prune": "prune", "cluster": "cluster", "quantize": "quant"}
"""Stages that can be switched off, each with the config group that does it."""


def whole_run(bench: Bench) -> str:
    """`dvc repro` from nothing; a stage's seconds include the hashing and caching of its outputs."""
    run = bench.run
    parts = {"(before the first stage)": run.before, **run.stages, "whole run": run.seconds}
    rows = [(name, f"{seconds:.1f}", f"{seconds / run.seconds:.0%}") for name, seconds in parts.items()]
    return table(("stage", "seconds", "share"), rows) + "\ngoal on 2 cores: under 180 s"


def nothing_to_do(bench: Bench) -> str:
    """`dvc repro` after which nothing ran, against a project of as many stages that hold next to nothing."""
    bare = bare_project(bench.kept / "bare", bench.project, len(bench.run.stages))
    projects = {"this project": bench.project, "bare DVC project": bare}
    times = in_turns({name: _no_op(p) for name, p in projects.items()}, 2 if bench.quick else 15, "no-op")
    rows = [
        (name, *spread(values), f"{ratio(values, times['bare DVC project']):.2f}")
        for name, values in times.items()
    ]
    heads = ("dvc repro, nothing to do", "median s", "p10", "p90", "ratio")
    return table(heads, rows) + "\ngoal: ratio at most 1.5"


def switched_off(bench: Bench) -> str:
    """A stage that passes its input through, run by hand: what Python's start and our imports cost."""
    project = copy_project(bench.project, bench.kept / "off")
    compose(project, *(f"{group}=none" for group in SWITCHED_OFF.values()))
    programs = {"python -c pass": ("-c", "pass")} | {
        f"python -m stages.{stage}": ("-m", f"stages.{stage}") for stage in SWITCHED_OFF
    }
    commands = {name: partial(project.run, "python", *program) for name, program in programs.items()}
    times = in_turns(commands, 3 if bench.quick else 25, "switched-off stages")
    bare = times["python -c pass"]
    rows = [(name, *spread(values), f"{ratio(values, bare):.1f}") for name, values in times.items()]
    return table(("switched off", "median s", "p10", "p90", "ratio"), rows) + "\ngoal: under 0.5 s"


def _no_op(project: Project) -> Callable[[], None]:
    def run() -> None:
        ran = stages_run(project.dvc("repro"))
        assert not ran, f"dvc repro ran {ran}; nothing had changed, so nothing should run"

    return run
