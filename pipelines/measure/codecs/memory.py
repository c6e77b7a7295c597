"""Peak memory of encoding and decoding against the length of the audio, each measured in a process of its own."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.config import config_to_dict
from ....core.device import pick_device
from ....core.errors import ConfigError, EngineError
from ....tokenizers.base import AudioTokenizer
from ....tokenizers.load import load_tokenizer
from ...data.audio.item import AudioItem
from ...engines.base import Worker
from ...engines.processes import ProcessPool
from ..results import FigureFacts, Resampling, ResultsTable, comparison
from ..results.findings import Findings
from .audio import read_reference
from .config import ExperimentConfig
from .plots import memory_png
from .setup import SCHEMA, Setup

MIB = 2**20
OPERATIONS = ("encode", "decode", "decode in pieces")
FIGURES = {
    "peak_mib": FigureFacts(title="peak memory", unit="MiB", better="lower"),
    "working_mib": FigureFacts(title="peak beyond weights and input", unit="MiB", better="lower"),
}
COLUMNS = ("operation", "seconds", "audio_mib", *FIGURES)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One operation on audio of one length."""

    operation: str
    seconds: float
    item: AudioItem  # repeated up to that length


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The measurement of one process."""

    peak_bytes: int
    start_bytes: int  # in use before the operation: libraries, weights, and its input
    reset: bool  # whether the peak is that of the operation, without that of loading the weights
    settings: Any  # of the codec that was loaded


class MemoryWorker(Worker[Task, Peak]):
    """Loads the codec of a config, and measures one operation."""

    def __init__(self, config: ExperimentConfig, device: str):
        self._config, self._device = config, torch.device(device)
        self._codec = load_tokenizer(config.tokenizer)
        config.prepare(self._codec)
        self._codec.eval()

    @torch.no_grad()
    def work(self, tasks: Iterator[Task]) -> Iterator[Peak]:
        for task in tasks:
            given = _input(self._codec, task, self._config.seed)
            start, reset = _start(self._device)
            _compute(self._codec, task.operation, given, self._config.options)
            yield Peak(peak_bytes=_peak(self._device), start_bytes=start, reset=reset, settings=self._codec.settings)


def memory_experiment(setup: Setup) -> Findings:
    """Measures each operation at each length, on the first file, which is repeated up to it.

    Decoding starts from random latents, so that nothing is encoded in its process. On a GPU the figures are what
    PyTorch has allocated there, elsewhere the resident memory of the process.

    Raises:
        ConfigError: the codec of the setup is not that of the config's `tokenizer`, which each process loads.
        EngineError, RuntimeError: not one length could be measured.
    """
    config, spec = setup.config, setup.tokenizer.spec
    table = ResultsTable(schema=SCHEMA, resampling=Resampling(confidence=config.confidence, seed=config.seed))
    table.figures = dict(FIGURES)
    item = setup.items[0]
    tasks = [Task(operation=one, seconds=s, item=item) for one in OPERATIONS for s in sorted(set(config.lengths_s))]
    failures: list[Exception] = []
    for done, task in enumerate(tasks, start=1):
        system = f"{task.operation}, {task.seconds:g} s"
        audio_mib = task.seconds * spec.sample_rate * spec.channels * 4 / MIB
        table.systems[system] = {"operation": task.operation, "seconds": task.seconds, "audio_mib": audio_mib}
        try:
            _add(table, system, task, _in_a_process(setup, task))
        except (EngineError, RuntimeError) as error:
            failures.append(error)
            for name in FIGURES:
                table.add(system, item.name, name, None, note=str(error))
        if setup.progress is not None:
            setup.progress(done, len(tasks))
    if len(failures) == len(tasks):
        raise failures[0]
    table.warnings += [f"{one['system']}: {one['figure']}: {one['reason']}" for one in table.undefined]
    return _findings(setup, table)


def _in_a_process(setup: Setup, task: Task) -> Peak:
    """Does a task in a process that does nothing else."""
    config = setup.config
    with closing(ProcessPool(partial(MemoryWorker, config), [str(pick_device(config.device))])) as pool:
        handle = pool.submit(0, task)
        pool.wait([handle], 0.0)
        found: Peak = pool.results(handle)[0]
    if found.settings != setup.tokenizer.settings:
        raise ConfigError(
            f"each process loads the config's tokenizer, {config.tokenizer!r}, which is another codec than the one "
            "that was given: save that one and name its folder"
        )
    return found


def _add(table: ResultsTable, system: str, task: Task, found: Peak) -> None:
    table.add(system, task.item.name, "peak_mib", found.peak_bytes / MIB)
    table.add(system, task.item.name, "working_mib", (found.peak_bytes - found.start_bytes) / MIB)
    if not found.reset:
        table.warnings.append(
            f"{system}: the peak is at least that of loading the weights, which cannot be left out here"
        )


def _findings(setup: Setup, table: ResultsTable) -> Findings:
    rows = [
        {**facts, **{name: table.estimate(system, name).value for name in FIGURES}}
        for system, facts in table.systems.items()
    ]
    table.facts |= {"config": config_to_dict(setup.config), "device": str(pick_device(setup.config.device))}
    leading = {key: [facts[key] for facts in table.systems.values()] for key in COLUMNS[:3]}
    return Findings(
        name="memory",
        title=setup.page_title("memory"),
        table=table,
        columns=COLUMNS,
        rows=rows,
        grids=[comparison(table, leading=leading, transpose=False, caption="memory in MiB, each in its own process")],
        draw=partial(memory_png, rows=rows),
    )


def _input(codec: AudioTokenizer, task: Task, seed: int) -> Tensor:
    """Audio [1, C, N], or latents [1, T, D] of that length, on the device of the codec."""
    spec = codec.spec
    num_samples = round(task.seconds * spec.sample_rate)
    if task.operation != "encode":
        latents = torch.randn(1, spec.num_latents(num_samples), spec.latent_dim, generator=torch.manual_seed(seed))
        return latents.to(codec.device)
    audio = read_reference(task.item, spec.sample_rate, spec.channels, task.seconds)
    return audio.repeat(1, -(-num_samples // audio.shape[-1]))[None, :, :num_samples].to(codec.device)


def _compute(codec: AudioTokenizer, operation: str, given: Tensor, options: dict[str, Any]) -> None:
    if operation == "encode":
        codec.encode(given, codec.spec.sample_rate)
    elif operation == "decode":
        codec.decode(latents=given, **options)
    else:
        for _ in codec.decode_pieces(latents=given, **options):
            pass


def _start(device: torch.device) -> tuple[int, bool]:
    """Returns the bytes in use, and whether the system lets the peak start again from them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device), True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak(device), False
    return _status_bytes("VmRSS"), True


def _peak(device: torch.device) -> int:
    """Returns the peak so far, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if Path("/proc/self/status").exists():  # the figure of getrusage includes the process that started this one
        return _status_bytes("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])
