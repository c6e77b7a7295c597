"""A walkthrough of every step on a few seconds of audio, with a report at the end: `latentune demo` as a function.

latentune demo demo_out
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import latentune
from latentune.core.config import config_to_dict, option
from latentune.core.extras import check_report_packages
from latentune.core.files import write_json
from latentune.core.outputs import prepare_output
from latentune.demos.walkthrough_report import measure, write_report
from latentune.pipelines.generation.load import shipped_pipelines
from latentune.tokenizers.base import STREAMS
from latentune.tokenizers.inputs import check_decode_options

logger = logging.getLogger(__name__)

STATE = "demo.json"  # marks a folder as the demo's own, and holds its figures at the end
OWN_FOLDERS = ("latents", "decoded", "runs", "samples")


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Which steps the demo runs on, and how much of each."""

    output: str = option(
        "demo_out", "Folder for everything, report.html included. An earlier demo in it is replaced.", positional=True
    )
    audio: str | None = option(
        None, "Audio to work on: a file, folder or manifest. By default four short recordings that are installed."
    )
    tokenizer: str = option("melcodec-music", "Tokenizer to use: a shipped or official name, a folder, or a hub id.")
    generators: tuple[str, ...] = option(
        (),
        "Pipeline to sample from; repeat it for several. By default those that ship for the tokenizer, or else those "
        "that the demo trains.",
        name="generator",
    )
    train_configs: tuple[str, ...] = option(
        ("train/dit-tiny", "train/lm-tiny"), "Config of a generator to train; repeat it.", name="train-config"
    )
    overrides: tuple[str, ...] = option((), "KEY=VALUE for each training; repeat it.", name="train-override")
    train_steps: int = option(150, "Number of steps of each training.")
    prompts: tuple[str, ...] = option(
        ("calm orchestral music", "fast electronic dance music", "metal with a female voice"),
        "Text to sample from; repeat it for several.",
        name="prompt",
        short="p",
    )
    seconds: float = option(5.0, "Length of each sample in seconds.")
    num: int = option(1, "Number of samples per prompt and pipeline.")
    decode_options: dict[str, Any] = option(
        factory=dict, help="Options of the tokenizer's own `decode`, such as steps=3.", name="decode-option"
    )
    seed: int = option(0, "Seed of training, sampling and resampling.")

    def __post_init__(self) -> None:
        for name in ("train_steps", "num"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be a positive number, got {self.seconds}")


@dataclass(kw_only=True)
class DemoResult:
    """The figures of a demo; `demo.json` holds the same."""

    report: str  # path of the HTML page
    stages_s: dict[str, float] = field(default_factory=dict)  # wall-clock time of each stage
    training: dict[str, dict[str, Any]] = field(default_factory=dict)  # config -> steps, seconds, run, curve
    sampled_from: str = ""  # which generators made the samples
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # pipeline -> records of its samples
    reconstruction: list[dict[str, Any]] = field(default_factory=list)  # one row per system
    distances: list[dict[str, Any]] = field(default_factory=list)  # one row per folder
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Wall-clock time of all stages."""
        return sum(self.stages_s.values())


def find_fixtures() -> Path:
    """Returns the manifest of the recordings that are part of the package."""
    return Path(str(files("latentune.demos") / "fixtures" / "manifest.jsonl"))


def run_demo(config: DemoConfig, *, progress: Callable[[str], None] | None = None) -> DemoResult:
    """Encodes audio, trains both kinds of generator for a short while, samples, decodes, measures and reports.

    Samples come from the generators that ship for the tokenizer, or, where there are none, from those just trained.

    Args:
        config: the demo's settings.
        progress: called with a line of text as each stage begins.

    Raises:
        ValueError: the folder holds other files, or there is no audio to work on.
        MissingPackageError: the packages of the report are not installed.
        OSError: it cannot be written to.
    """
    check_report_packages("the demo's report")
    source = find_fixtures() if config.audio is None else Path(config.audio)
    latentune.find_audio(source)  # refuses what holds no audio, before the output is touched
    folder = _fresh_folder(config.output)
    result = DemoResult(report=str(folder / "report.html"))

    @contextmanager
    def stage(name: str, what: str) -> Iterator[None]:
        if progress is not None:
            progress(what)
        begun_s = time.monotonic()
        yield
        result.stages_s[name] = time.monotonic() - begun_s
        logger.info("%s took %.1f s", name, result.stages_s[name])

    tokenizer = latentune.load_tokenizer(config.tokenizer)
    check_decode_options(tokenizer, config.decode_options)
    with stage("encode", f"encoding {source} with {config.tokenizer}"):
        latents = _encode(config, source, folder)
    for name in config.train_configs:
        with stage(f"train {name}", f"training {name} for {config.train_steps} steps"):
            result.training[name] = _train(config, name, latents, folder)
    for pipeline in _pipelines(config, tokenizer, result):
        name, count = Path(pipeline).name, len(config.prompts) * config.num
        with stage(f"sample {name}", f"sampling {count} x {config.seconds:g} s with {name}"):
            result.samples[name] = _sample(config, pipeline, folder)
    with stage("decode", "decoding the encoded audio from latents and from tokens"):
        for stream in STREAMS:
            place = str(folder / "decoded" / stream)
            wanted = latentune.DecodeConfig(
                dataset=str(latents), output=place, stream=stream, options=config.decode_options
            )
            latentune.decode_dataset(wanted, tokenizer=tokenizer)
    with stage("evaluate", "measuring reconstructions and samples"):
        measure(config, result, source, folder, tokenizer)
    with stage("report", f"writing {result.report}"):
        write_report(config, result, source, folder)
    write_json(folder / STATE, {"finished": True, "config": config_to_dict(config), **asdict(result)})
    return result


def _fresh_folder(output: str) -> Path:
    """The output folder, without what an earlier demo left in it."""
    folder = Path(output).expanduser()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / STATE).is_file():
        raise ValueError(f"{folder} holds other files: choose a new folder for the demo")
    prepare_output(folder)
    for name in OWN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    write_json(folder / STATE, {"finished": False})
    return folder


def _encode(config: DemoConfig, source: Path, folder: Path) -> Path:
    latents = folder / "latents"
    # by name and not as the loaded object, so that the dataset records where to find its tokenizer
    wanted = latentune.EncodeConfig(source=str(source), output=str(latents), tokenizer=config.tokenizer, device="cpu")
    latentune.encode_dataset(wanted)
    return latents


def _train(config: DemoConfig, name: str, latents: Path, folder: Path) -> dict[str, Any]:
    """Trains one generator; returns its figures and its loss curve."""
    output = folder / "runs" / name.replace("/", "_")
    paths = {"data.source": str(latents), "data.tokenizer": config.tokenizer, "output": str(output)}
    overrides = [f"{key}={json.dumps(value)}" for key, value in paths.items()]  # JSON is YAML: any path survives
    figures = {
        "steps": config.train_steps,
        "seed": config.seed,
        "log_every": 5,
        "preview_every": 0,
        "validate_every": 0,
    }
    overrides += [f"{key}={value}" for key, value in figures.items()]
    settings = latentune.load_settings(name, [*overrides, *config.overrides])
    summary = latentune.train(latentune.train_config(settings), resume=None)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "steps": summary.steps,
        "seconds": summary.seconds,
        "run": str(output),
        "curve": [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None],
    }


def _pipelines(config: DemoConfig, tokenizer: latentune.AudioTokenizer, result: DemoResult) -> list[str]:
    """The pipelines to sample from; the result records which ones they are."""
    if config.generators:
        result.sampled_from = "the generators that were requested"
        return list(config.generators)
    if shipped := shipped_pipelines(tokenizer):
        result.sampled_from = f"the generators that ship for {config.tokenizer}"
        return shipped
    result.sampled_from = f"the generators trained above, because none ship for {config.tokenizer}"
    return [run["run"] for run in result.training.values()]


def _sample(config: DemoConfig, name: str, folder: Path) -> list[dict[str, Any]]:
    return latentune.sample_to_folder(
        latentune.SampleConfig(
            pipeline=name,
            output=str(folder / "samples" / Path(name).name),
            prompts=config.prompts,
            seconds=config.seconds,
            num=config.num,
            seed=config.seed,
            decode_options=config.decode_options,
            device="cpu",
        )
    )
