"""`make conformance`: all of the ONNX standard's node tests through both converters, as tables.

    python -m tests.conformance.conformance [--only nhwc] [NAME ...]

A NAME is a case's or an operator's. Each case runs in a worker process, since a converter or runtime may
abort; an abort is a failure. What this project writes is compared with what TensorFlow's converter, the
oracle, writes of the same plan; `--only nhwc` leaves out the oracle and onnx-tf.
"""

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool

from tests.conformance.cases import Case, cases
from tests.conformance.reasons import DISAGREED

CONVERTERS = ("nhwc", "onnx_tf")
ORACLE = "oracle"
GOAL = 0.99
LEAST = 1300
"""So many cases at least TFLite can express."""
SECONDS = 120
NOT_AS_THE_STANDARD = "the oracle's is not what the standard says; the file's is"
FINE = ("equal", "not taken", NOT_AS_THE_STANDARD)
"""What `converters.beside_oracle` may say of a case."""
UNKNOWN = "NotImplementedError"
"""How onnx-tf refuses an operator that it does not know."""

_WIDE = 200

Results = dict[str, tuple[str, str | None]]
"""For each case the way in which its operands went in, and what went wrong, or None."""


def main() -> int:
    """Print the tables; 1 if the translator misses the goal or, over all cases, is not ahead of onnx-tf."""
    parser = argparse.ArgumentParser(description="The ONNX standard's node tests through the converters.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases or operators; all if none is given")
    parser.add_argument("--only", choices=CONVERTERS, help="one converter alone, without the oracle")
    options = parser.parse_args()
    found, skipped = _chosen(options.names)
    converters = (options.only,) if options.only else (*CONVERTERS, ORACLE)
    with ThreadPoolExecutor(2) as threads:
        results = dict(zip(converters, threads.map(lambda c: _results(found, c), converters), strict=True))
    beside = results.pop(ORACLE, {})
    _print_operators(found, results)
    for name in [name for name in results if name == "nhwc" or options.only]:
        _print_failures(name, results[name])
    _print_skips(skipped)
    rates = {name: _rate(failures) for name, failures in results.items()}
    print(", ".join(f"{name}: {rate:.1%} of {len(found)}" for name, rate in rates.items()))
    differing = bool(beside) and _print_oracle({name: why or "equal" for name, (_, why) in beside.items()})
    own, other = rates.get("nhwc", 1.0), rates.get("onnx_tf", 0.0)
    enough = own >= GOAL and (bool(options.names) or (own > other and len(found) >= LEAST))
    return 0 if enough and not differing else 1


def _print_oracle(beside: dict[str, str]) -> bool:
    """How many cases are as the oracle has them, and which are not; whether there are such."""
    counts = Counter(beside.values())
    taken = len(beside) - counts["not taken"]
    print(f"oracle: {counts['equal']} of {taken} equal that both take")
    if counts[NOT_AS_THE_STANDARD]:
        print(f"  {counts[NOT_AS_THE_STANDARD]} of which {NOT_AS_THE_STANDARD}")
    others = {name: what for name, what in beside.items() if what not in FINE}
    for name, what in others.items():
        print(f"  {name}: {what}")
    return bool(others)


def _chosen(names: list[str]) -> tuple[list[Case], dict[str, str]]:
    found, skipped = cases()
    if unknown := set(names) - {case.name for case in found} - {case.op for case in found}:
        sys.exit(
            f"error: no case or operator {', '.join(sorted(unknown))}; one is {found[0].name}, {found[0].op}"
        )
    if not names:
        return found, skipped
    return [case for case in found if case.name in names or case.op in names], {}


def _results(found: list[Case], converter: str) -> Results:
    pool, results, strange = _pool(), Results(), dict[str, str]()
    for case in found:
        if case.op in strange and not case.body:
            results[case.name] = ("computed", strange[case.op])
            continue
        try:
            results[case.name] = pool.submit(_result, case.name, converter).result(SECONDS)
        except (BrokenProcessPool, Late) as error:
            results[case.name] = ("computed", f"the process ended ({type(error).__name__})")
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool = _pool()
        why = results[case.name][1] or ""
        if converter == "onnx_tf" and not case.body and why.startswith(UNKNOWN):
            strange[case.op] = why
    pool.shutdown()
    return results


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _result(name: str, converter: str) -> tuple[str, str | None]:
    from tests.conformance.converters import beside_oracle, result

    (case,) = [case for case in cases()[0] if case.name == name]
    return ("computed", beside_oracle(case)) if converter == ORACLE else result(case, converter)


def _rate(results: Results) -> float:
    return sum(why is None for _, why in results.values()) / len(results)


def _label(case: Case) -> str:
    return f"{case.op}, written out" if case.body else case.op


def _print_operators(found: list[Case], results: dict[str, Results]) -> None:
    total = Counter(map(_label, found))
    names = list(results)
    rules = " | ".join("---" for _ in range(len(names) + 3))
    print(f"| operator | cases | {' | '.join(names)} | of these with constants |\n| {rules} |")
    passed = {name: Counter(_right(found, each)) for name, each in results.items()}
    constants = Counter(_right(found, results["nhwc"], constants=True)) if "nhwc" in results else Counter()
    for label in sorted(total):
        counts = " | ".join(str(passed[name][label]) for name in names)
        print(f"| {label} | {total[label]} | {counts} | {constants[label] or ''} |")


def _right(found: list[Case], results: Results, constants: bool = False) -> Iterable[str]:
    """The operator of each case that is right, or of each that is only with constants for operands."""
    for case in found:
        way, why = results[case.name]
        if why is None and (way != "computed" or not constants):
            yield _label(case)


def _print_failures(converter: str, results: Results) -> None:
    print(f"\n| not passed by {converter} | why |\n| --- | --- |")
    for name, (_, why) in results.items():
        if why is not None:
            print(f"| {name} | {(DISAGREED.get(name) or why)[:_WIDE]} |")


def _print_skips(skipped: dict[str, str]) -> None:
    print("\n| TFLite cannot express | cases |\n| --- | --- |")
    for why, count in Counter(skipped.values()).most_common():
        print(f"| {why} | {count} |")
    print()


if __name__ == "__main__":
    sys.exit(main())
