"""Mutated files for every reader of what users and devices hand over.

`python -m tests.mutations CASES [SEED] [READER ...]` feeds so many files, shared among the readers, and
prints what became of them. It ends with a traceback at the first case that is neither taken nor refused with
one printable line, takes too long, or takes more than 300 MiB above twice the file.
"""

import contextlib
import faulthandler
import io
import json
import random
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgepress.artifacts import read_json
from edgepress.config.data import ImageFolder, Inputs, Npz, Splits
from edgepress.config.device import Energy
from edgepress.config.load import read as read_params
from edgepress.config.model import Onnx
from edgepress.config.validation import validate
from edgepress.convert.cutting import read_cuts
from edgepress.convert.flatbuffer import tflite_metrics
from edgepress.datasets import image_folder, inputs, npz
from edgepress.datasets.array_files import open_array
from edgepress.datasets.decode import decode
from edgepress.datasets.prepared import load_description, load_split
from edgepress.devices.answers import parse_answer
from edgepress.devices.energy import read_log
from edgepress.devices.phone_benchmark import read as read_benchmark
from edgepress.devices.program.tflite import beginning
from edgepress.errors import EdgepressError
from edgepress.graph.imported.network import imported, read_source
from edgepress.graph.normalise.normalise import load_normalised
from edgepress.inspection.inspect import describe
from edgepress.text import MESSAGE
from tests import mutated_onnx, mutated_seeds
from tests.mutated_seeds import (
    Mutate,
    bytes_changed,
    directory_changed,
    header_changed,
    numbers_changed,
    values_changed,
    words_changed,
)

SECONDS = 10.0
"""No case may take longer."""

SPARE_BYTES = 300 << 20
"""What a case may take in memory beyond twice its file."""

_SPLITS = Splits(0.25, 0.25, 1)
_PARAMS = Path(__file__).parents[1] / "params.yaml"


class Reader(NamedTuple):
    """`share` of the cases go to it; each file is fed to all of `feeds`, which print or raise."""

    share: int
    name: str
    make: Callable[[random.Random], bytes]
    feeds: Sequence[Callable[[Path], object]]


def run(cases: int, seed: int, folder: Path, only: Sequence[str] = ()) -> Counter[str]:
    """Feed mutated files to their readers; how many of each were taken and how many refused.

    Raises:
        AssertionError: a message that is not one printable line, or a case that took too long or too much.
    """
    found: Counter[str] = Counter()
    chosen = {name: reader for name, reader in READERS.items() if not only or name in only}
    shares = sum(reader.share for reader in chosen.values())
    with contextlib.chdir(folder):
        (folder / "weights.bin").write_bytes(bytes(64))
        for name, reader in chosen.items():
            chance = random.Random(f"{seed} {name}")
            for _ in range(-(-cases * reader.share // shares)):
                path = folder / reader.name
                path.write_bytes(reader.make(chance))
                for feed in reader.feeds:
                    found[f"{name}: {_fate(feed, path)}"] += 1
    return found


def _fate(feed: Callable[[Path], object], path: Path) -> str:
    resident = _reset_peak()
    begin = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, 2 * SECONDS)  # whose default action ends what hangs in C
    try:
        said = feed(path)
        fate = "taken"
    except EdgepressError as error:
        said, fate = str(error) or "\n", "refused"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    taken = time.perf_counter() - begin
    assert taken < SECONDS, f"{taken:.1f} s"
    above = _status("VmHWM") - resident
    assert above <= 2 * path.stat().st_size + SPARE_BYTES, f"{above >> 20} MiB more"
    if isinstance(said, str):
        lines = said.split("\n")
        assert all(line.isprintable() and len(line) <= MESSAGE for line in lines), said
        assert fate == "taken" or len(lines) == 1, said
    return fate


def _reset_peak() -> int:
    """What is in memory now, in bytes; from here on the peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) << 10


def _either(seeds: Callable[[random.Random], bytes], *mutations: Mutate) -> Callable[[random.Random], bytes]:
    return lambda chance: chance.choice(mutations)(seeds(chance), chance)


def _value_error(feed: Callable[[Path], object]) -> Callable[[Path], object]:
    """Of functions whose errors are one line by contract, and are put into a message by who calls them."""

    def told(path: Path) -> object:
        try:
            return feed(path)
        except ValueError as error:
            raise EdgepressError(str(error) or "nothing said") from error

    return told


def _onnx(chance: random.Random) -> bytes:
    return mutated_onnx.mutate(chance.choice(mutated_onnx.seeds()), chance)


def _tflite(chance: random.Random) -> bytes:
    made = chance.choice([mutated_seeds.tflite, mutated_seeds.written])
    return made(chance.random() < 0.5)


def _import(path: Path) -> None:
    config = Onnx(str(path), str(path.parent))
    imported(read_source(config), config, mutated_onnx.IMAGE, classes=0)


def _cut(path: Path) -> None:
    cuts, content = read_cuts(path), path.read_bytes()
    for step in cuts.steps:
        beginning(content, cuts.places, step.end, step.outputs)


def _json(path: Path) -> object:
    """The report as JSON is one value, whatever it quotes."""
    return len(json.loads(describe(path, as_json=True)))


def _arrays(layout: str) -> Callable[[Path], object]:
    return lambda path: npz.load(Npz(str(path), "", "", layout, _SPLITS))  # type: ignore[arg-type]


def _split(path: Path) -> object:
    folder = path.parent / "split"
    folder.mkdir(exist_ok=True)
    for name in ("x", "y"):
        (folder / f"{name}.npy").write_bytes(path.read_bytes())
    return len(load_split(folder))


def _images(path: Path) -> object:
    dataset = image_folder.load(ImageFolder(str(path), "", "", 8, 3, "crop", True, _SPLITS))
    return "\n".join([*dataset.class_names, *dataset.remarks])


def _picture(chance: random.Random) -> bytes:
    return mutated_seeds.image(chance.choice(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]))


def _zipped_bytes(chance: random.Random) -> bytes:
    """A sound zip of unsound pictures with odd names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(4):
            name = chance.choice(
                [
                    "a/1",
                    "b/1",
                    "a/\x1b[2J",
                    "b/\u202e",
                    "a/b/1",
                    "1",
                    "a /1",
                    "é/1",
                    "e\u0301/1",
                    "</script>/1",
                ]
            )
            archive.writestr(f"{name}{number}.png", bytes_changed(mutated_seeds.image("PNG"), chance))
    return file.getvalue()


def _zip(chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return _zipped_bytes(chance)
    sound = mutated_seeds.zipped(chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return chance.choice([bytes_changed, directory_changed, directory_changed])(sound, chance)


def _npz(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
            for name in ("x", "y", "class_names"):
                content = mutated_seeds.npy() if name == "x" else _saved(np.arange(6) % 2)
                if chance.random() < 0.5:
                    content = chance.choice([header_changed, bytes_changed])(content, chance)
                archive.writestr(f"{name}.npy", content)
        return file.getvalue()
    sound = mutated_seeds.npz(chance.random() < 0.5)
    return chance.choice([bytes_changed, directory_changed])(sound, chance)


def _saved(array: "np.ndarray") -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _meter(path: Path) -> object:
    with contextlib.suppress(EdgepressError):
        read_log(path, Energy("", timestamp="time", watts="power"))
    return len(read_log(path, Energy("")).times_s)


def _answer(chance: random.Random) -> bytes:
    verb = chance.choice(list(mutated_seeds.ANSWERS))
    mutate = chance.choice([values_changed, values_changed, words_changed, bytes_changed])
    return verb.encode() + b"\n" + mutate(json.dumps(mutated_seeds.ANSWERS[verb]).encode(), chance)


def _parse(path: Path) -> object:
    verb, _, line = path.read_bytes().partition(b"\n")
    answer = parse_answer(line.decode(errors="replace"), verb.decode(), {"runs": 3})
    json.dumps(answer, allow_nan=False)
    return None


READERS = {
    "onnx": Reader(
        5, "model.onnx", _onnx, [load_normalised, _import, lambda path: describe(path, False), _json]
    ),
    "tflite": Reader(
        8,
        "model.tflite",
        _either(_tflite, bytes_changed, numbers_changed),
        [lambda path: describe(path, False), _json, tflite_metrics, _cut],
    ),
    "npz": Reader(7, "data.npz", _npz, [_arrays("nf"), open_array]),
    "npy": Reader(
        7,
        "x.npy",
        _either(lambda chance: mutated_seeds.npy(), bytes_changed, header_changed),
        [open_array, lambda path: inputs.load(Inputs(str(path), "", "", "nf", _SPLITS)), _split],
    ),
    "image": Reader(
        7,
        "image.png",
        _either(_picture, bytes_changed, numbers_changed),
        [_value_error(lambda path: decode(path.read_bytes(), 8, 3, "stretch").shape)],
    ),
    "zip": Reader(4, "photos.zip", _zip, [_images]),
    "yaml": Reader(
        1,
        "params.yaml",
        _either(lambda chance: _PARAMS.read_bytes(), words_changed, bytes_changed),
        [read_params, validate],
    ),
    "json": Reader(
        3,
        "description.json",
        _either(lambda chance: mutated_seeds.DESCRIPTION, values_changed, words_changed, bytes_changed),
        [read_json, load_description],
    ),
    "meter": Reader(
        4,
        "meter.csv",
        _either(
            lambda chance: chance.choice([mutated_seeds.METER, mutated_seeds.METER_ISO]),
            words_changed,
            bytes_changed,
        ),
        [_meter],
    ),
    "answer": Reader(5, "answer.txt", _answer, [_value_error(_parse)]),
    "benchmark": Reader(
        3,
        "said.txt",
        _either(lambda chance: mutated_seeds.BENCHMARK, words_changed, bytes_changed),
        [lambda path: read_benchmark(path.read_bytes().decode(errors="replace"), Path("m")) and None],
    ),
}


def _told(found: Counter[str]) -> Iterator[str]:
    for name in READERS:
        counts = {fate: found[f"{name}: {fate}"] for fate in ("taken", "refused")}
        if sum(counts.values()):
            files = sum(counts.values()) // len(READERS[name].feeds)
            times = f"{counts['taken']:>7} times taken, {counts['refused']:>7} refused"
            yield f"{name:<10}{files:>7} files, {times}"


if __name__ == "__main__":
    faulthandler.enable()
    started = time.perf_counter()
    cases, seed, *only = sys.argv[1:] if len(sys.argv) > 2 else [sys.argv[1], "0"]
    with tempfile.TemporaryDirectory() as place:
        outcome = run(int(cases), int(seed), Path(place), only)
    print("\n".join(_told(outcome)))
    print(f"{cases} files in {time.perf_counter() - started:.0f} s, peak {_status('VmHWM') >> 20} MiB")
