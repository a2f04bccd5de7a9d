"""`make conformance`: the ONNX standard's node tests through both converters, as tables.

    python -m tests.conformance.conformance [CASE ...]

Each case runs in a worker process, since a converter or runtime may abort; an abort is a failure. What this
project writes is compared with what TensorFlow's converter, the oracle, writes of the same plan.
"""

import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool

from tests.conformance.cases import Case, cases

CONVERTERS = ("nhwc", "onnx_tf")
ORACLE = "oracle"
GOAL = 0.95
SECONDS = 120


def main() -> int:
    """Print the tables; 1 if the translator misses the goal or, over all cases, is not ahead of onnx-tf."""
    chosen = sys.argv[1:]
    found, skipped = _chosen(chosen)
    with ThreadPoolExecutor(len(CONVERTERS)) as threads:
        results = dict(zip(CONVERTERS, threads.map(lambda c: _results(found, c), CONVERTERS), strict=True))
    beside = _results(found, ORACLE)
    _print_operators(found, results)
    _print_failures(results["nhwc"])
    _print_skips(skipped)
    rates = {name: _rate(failures) for name, failures in results.items()}
    print(", ".join(f"{name}: {rate:.1%} of {len(found)}" for name, rate in rates.items()))
    differing = _print_oracle(beside)
    ahead = rates["nhwc"] >= GOAL and (bool(chosen) or rates["nhwc"] > rates["onnx_tf"])
    return 0 if ahead and not differing else 1


def _print_oracle(beside: dict[str, str | None]) -> bool:
    """How many cases are as the oracle has them, and which are not; whether there are such."""
    counts = Counter(beside.values())
    taken = len(beside) - counts["not taken"]
    print(f"oracle: {counts['equal']} of {taken} equal that both take")
    others = {name: what for name, what in beside.items() if what not in ("equal", "not taken")}
    for name, what in others.items():
        print(f"  {name}: {what}")
    return bool(others)


def _chosen(names: list[str]) -> tuple[list[Case], dict[str, str]]:
    found, skipped = cases()
    if unknown := set(names) - {case.name for case in found}:
        sys.exit(f"error: no applicable case {', '.join(sorted(unknown))}; one is {found[0].name}")
    return ([case for case in found if case.name in names], {}) if names else (found, skipped)


def _results(found: list[Case], converter: str) -> dict[str, str | None]:
    """For each case what went wrong, or None."""
    pool, results = _pool(), {}
    for case in found:
        try:
            results[case.name] = pool.submit(_failure, case.name, converter).result(SECONDS)
        except (BrokenProcessPool, Late) as error:
            results[case.name] = f"the process ended ({type(error).__name__})"
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool = _pool()
    pool.shutdown()
    return results


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _failure(name: str, converter: str) -> str | None:
    from tests.conformance.converters import beside_oracle, failure

    (case,) = [case for case in cases()[0] if case.name == name]
    return beside_oracle(case) if converter == ORACLE else failure(case, converter)


def _rate(failures: dict[str, str | None]) -> float:
    return sum(why is None for why in failures.values()) / len(failures)


def _print_operators(found: list[Case], results: dict[str, dict[str, str | None]]) -> None:
    total = Counter(case.op for case in found)
    passed = {
        name: Counter(case.op for case in found if failures[case.name] is None)
        for name, failures in results.items()
    }
    print("| operator | cases | nhwc | onnx_tf |\n| --- | --- | --- | --- |")
    for op in sorted(total):
        print(f"| {op} | {total[op]} | {passed['nhwc'][op]} | {passed['onnx_tf'][op]} |")


def _print_failures(failures: dict[str, str | None]) -> None:
    print("\n| not passed by nhwc | why |\n| --- | --- |")
    for name, why in failures.items():
        if why is not None:
            print(f"| {name} | {why[:160]} |")


def _print_skips(skipped: dict[str, str]) -> None:
    print("\n| skipped because | cases |\n| --- | --- |")
    for why, count in Counter(skipped.values()).most_common():
        print(f"| {why} | {count} |")
    print()


if __name__ == "__main__":
    sys.exit(main())
