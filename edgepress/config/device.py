"""Section `device`: where the models run, and how long they are timed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from edgepress.config.load import MOST_THREADS
from edgepress.config.schema import require, require_integer, require_number, require_positive

HOUR_S, DAY_S = 3600, 86_400

MEASURE_AGAIN = "dvc repro --force --single-item evaluate-on-device"
"""What measures although DVC knows a result, such as one of a fleet of which a member had failed."""

Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
SystemConfig = Literal[
    "Ethos_U55_Deep_Embedded",
    "Ethos_U55_High_End_Embedded",
    "Ethos_U65_Embedded",
    "Ethos_U65_Mid_End",
    "Ethos_U65_High_End",
    "Ethos_U65_Client_Server",
    "Ethos_U85_SYS_Flash_Low",
    "Ethos_U85_SYS_Flash_High",
    "Ethos_U85_SYS_DRAM_Low",
    "Ethos_U85_SYS_DRAM_Mid",
    "Ethos_U85_SYS_DRAM_High",
]
MemoryMode = Literal[
    "Sram_Only",
    "Shared_Sram",
    "Dedicated_Sram",
    "Dedicated_Sram_256KB",
    "Dedicated_Sram_384KB",
    "Dedicated_Sram_512KB",
]
OpResolver = Literal["xnnpack", "builtin", "reference"]
Clock = Literal["host", "device"]
ExecutionProvider = Literal[
    "ACLExecutionProvider",
    "AzureExecutionProvider",
    "CANNExecutionProvider",
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "DnnlExecutionProvider",
    "JsExecutionProvider",
    "MIGraphXExecutionProvider",
    "NnapiExecutionProvider",
    "NvTensorRTRTXExecutionProvider",
    "OpenVINOExecutionProvider",
    "QNNExecutionProvider",
    "RknpuExecutionProvider",
    "TensorrtExecutionProvider",
    "VSINPUExecutionProvider",
    "VitisAIExecutionProvider",
    "WebGpuExecutionProvider",
    "WebNNExecutionProvider",
    "XnnpackExecutionProvider",
]
"""All that onnxruntime knows, whichever of them a device's build has."""


@dataclass(frozen=True)
class Timing:
    """How latencies are taken.

    In a sitting, candidate and baseline each get a fresh process, warm up until their bursts are alike or
    `warmup_s` has passed, and take turns in `rounds` of `runs_per_round` inferences. There are `sittings` at
    least, and more until the 95% interval of the ratio is narrower than `ratio_width` times the ratio or
    `budget_s` has passed. Then come, for throughput, `sittings` of them for each of `batch_sizes`, and
    `sustained_s` seconds of the candidate without pause. With `profile`, single operators are timed, too,
    in as many inferences as a sitting has.
    """

    sittings: int
    rounds: int
    runs_per_round: int
    warmup_s: float
    ratio_width: float
    budget_s: float
    batch_sizes: tuple[int, ...] = ()
    sustained_s: float = 0
    profile: bool = False

    def __post_init__(self) -> None:
        require_integer("sittings", self.sittings, 2, 1000)
        require_integer("rounds", self.rounds, 1, 10_000)
        require_integer("runs_per_round", self.runs_per_round, 1, 100_000)
        require_number("warmup_s", self.warmup_s, 0, HOUR_S, ", in seconds")
        require_positive("ratio_width", self.ratio_width, 10, ", as a share of the ratio")
        require_number("budget_s", self.budget_s, 0, DAY_S, ", in seconds")
        require(len(self.batch_sizes) <= 16, "batch_sizes", list(self.batch_sizes), "at most 16 sizes")
        for i, size in enumerate(self.batch_sizes):
            require_integer(f"batch_sizes[{i}]", size, 1, 4096)
        require_number("sustained_s", self.sustained_s, 0, DAY_S, ", in seconds")


@dataclass(frozen=True)
class Energy:
    """Energy from what an external meter writes meanwhile: idle, candidate and baseline run `seconds` each.

    `csv` is a file of this computer with the columns `timestamp` (seconds since 1970, or ISO 8601, of this
    computer's time zone if it names none) and `watts`. `clock` says whose clock the timestamps are of: this
    computer's (host) or the device's.
    """

    csv: str
    seconds: float = 10
    clock: Clock = "host"
    timestamp: str = "timestamp"
    watts: str = "watts"

    def __post_init__(self) -> None:
        require_positive("seconds", self.seconds, HOUR_S)


@dataclass(frozen=True)
class Kernels:
    """What computes: `threads` on these `cpus` (null: any), LiteRT's kernels, onnxruntime's provider.

    `op_resolver`: XNNPACK's kernels where it has them, LiteRT's own, or its reference kernels. `delegate` is
    the path of a library on the device, which takes the place of XNNPACK.
    """

    threads: int
    cpus: tuple[int, ...] | None
    op_resolver: OpResolver
    delegate: str | None
    execution_provider: ExecutionProvider

    def __post_init__(self) -> None:
        require_integer("threads", self.threads, 1, MOST_THREADS)
        known = self.cpus is None or (len(self.cpus) > 0 and 0 <= min(self.cpus) <= max(self.cpus) < 4096)
        allowed = "null or a list of CPU numbers in [0, 4095], e.g. [2, 3]"
        require(known, "cpus", None if self.cpus is None else list(self.cpus), allowed)
        plain = self.delegate is None or self.op_resolver == "xnnpack"
        require(plain, "op_resolver", self.op_resolver, "xnnpack where a delegate is given")


@dataclass(frozen=True)
class Local:
    """This computer."""

    kernels: Kernels
    timing: Timing
    energy: Energy | None = None


@dataclass(frozen=True)
class Ssh:
    """A board that `ssh <board>` reaches; ours there lies in `directory`, relative to the home.

    `machine` says what it is and `fingerprint` which one, as `edgepress device setup` found it; another one
    is refused. Null: any.
    """

    board: str
    directory: str
    machine: str | None
    fingerprint: str | None
    kernels: Kernels
    timing: Timing
    energy: Energy | None = None

    def __post_init__(self) -> None:
        name = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.board) is not None
        require(name, "board", self.board, "a name that ssh knows: letters, digits and _ . -")
        folder = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*", self.directory) is not None
        require(folder, "directory", self.directory, "a folder: letters, digits and _ . / -")


@dataclass(frozen=True)
class Tflm:
    """TensorFlow Lite Micro on this computer: outputs and the tensor arena, no times."""


@dataclass(frozen=True)
class Qemu:
    """A 64-bit ARM board that QEMU emulates here, with this processor."""

    cpu: Literal["cortex-a53", "cortex-a72", "cortex-a76", "max"]
    kernels: Kernels


@dataclass(frozen=True)
class EthosU:
    """An Ethos-U, as Vela estimates it; the names are those of Vela's configuration, null is its default."""

    accelerator: Accelerator
    system_config: SystemConfig | None
    memory_mode: MemoryMode | None
    optimise: Literal["Performance", "Size"]

    def __post_init__(self) -> None:
        family = self.accelerator.rpartition("-")[0].title().replace("-", "_")
        fits = self.system_config is None or self.system_config.startswith(family)
        own = [name for name in get_args(SystemConfig) if name.startswith(family)]
        require(fits, "system_config", self.system_config, f"for {self.accelerator} one of: {', '.join(own)}")


@dataclass(frozen=True)
class Adb:
    """An Android phone that `adb` reaches by its `serial`.

    Either `python`, the path there of a Python with the runtimes, or a command that starts it; or
    `benchmark`, the path of LiteRT's benchmark program, which times a `.tflite` and tells no outputs. Files
    go to `directory`.
    """

    serial: str
    python: str | None
    benchmark: str | None
    directory: str
    kernels: Kernels
    timing: Timing
    energy: Energy | None = None

    def __post_init__(self) -> None:
        plain = re.fullmatch(r"[^\s-]\S*", self.serial) is not None
        require(plain, "serial", self.serial, "a phone as `adb devices` lists it")
        either = "the path of Python on the phone or, instead, device.benchmark: that of LiteRT's program"
        require((self.python is None) != (self.benchmark is None), "python", self.python, either)
        if self.benchmark is not None:
            self._require_what_it_can()
        require(self.directory.startswith("/"), "directory", self.directory, "an absolute path on the phone")

    def _require_what_it_can(self) -> None:
        """The benchmark program times single inferences, with kernels that it has."""
        require(self.energy is None, "energy", self.energy, "null with device.benchmark")
        timing, kernels = self.timing, self.kernels
        require(
            timing.batch_sizes == (), "timing.batch_sizes", timing.batch_sizes, "[] with device.benchmark"
        )
        require(timing.sustained_s == 0, "timing.sustained_s", timing.sustained_s, "0 with device.benchmark")
        require(not timing.profile, "timing.profile", timing.profile, "false with device.benchmark")
        able = kernels.op_resolver != "reference"
        require(able, "kernels.op_resolver", "reference", "xnnpack or builtin with device.benchmark")


DeviceConfig = Adb | EthosU | Local | Qemu | Ssh | Tflm
DEVICES: dict[str, type[DeviceConfig]] = {
    "local": Local,
    "ssh": Ssh,
    "adb": Adb,
    "qemu_aarch64": Qemu,
    "tflm": Tflm,
    "ethos_u": EthosU,
}


@dataclass(frozen=True)
class Fleet:
    """Several devices, measured one after the other, under names that the user gives them."""

    members: Mapping[str, DeviceConfig] = field(metadata={"choices": DEVICES})

    def __post_init__(self) -> None:
        require(1 <= len(self.members) <= 64, "members", dict(self.members), "1 to 64 devices by name")
        for name in self.members:
            plain = re.fullmatch(r"[A-Za-z0-9_-]+", name) is not None
            require(plain, "members", name, "names of letters, digits, - and _")


CHOICES: dict[str, type[DeviceConfig | Fleet]] = {**DEVICES, "fleet": Fleet}


def runs_tflite_alone(config: DeviceConfig) -> bool:
    """Whether the device has no ONNX Runtime."""
    return isinstance(config, Tflm | EthosU) or (isinstance(config, Adb) and config.benchmark is not None)


def name_of(config: DeviceConfig | Fleet) -> str:
    """The name by which the configuration chooses it."""
    return next(name for name, section in CHOICES.items() if type(config) is section)
