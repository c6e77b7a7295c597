"""A walkthrough of what the shipped models do, with a page at the end: `latentune demo` as a function.

latentune demo demo_out
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import latentune
from latentune.core.config import config_to_dict, option
from latentune.core.extras import check_report_packages
from latentune.core.files import write_json
from latentune.core.outputs import prepare_output
from latentune.demos.walkthrough_codecs import KINDS, TOKENIZERS, Codec, codec_exhibits, codec_figures, decode, encode
from latentune.demos.walkthrough_exhibits import Exhibit
from latentune.demos.walkthrough_generation import (
    CAPTIONS,
    TRAINED,
    Generation,
    extend,
    first_that_can,
    inpaint,
    sample,
    say,
    stream,
)
from latentune.demos.walkthrough_report import write_report
from latentune.pipelines.generation.load import shipped_pipelines
from latentune.tokenizers.inputs import check_decode_options

logger = logging.getLogger(__name__)

Stage = Callable[[str, str], AbstractContextManager[None]]  # (name, line of progress)

STATE = "demo.json"  # marks a folder as the demo's own, and holds its figures at the end
OWN_FOLDERS = ("latents", "decoded", "runs", "samples", "edits", "streams", "speech")
MOST_TRAINED_PROMPTS = 2  # texts of recordings that a generator trained here is asked for


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The recordings and models of a demo, and how much of each step."""

    output: str = option(
        "demo_out", "Folder for everything, report.html included. An earlier demo in it is replaced.", positional=True
    )
    audio: str | None = option(
        None,
        "Audio to work on: a file, folder or manifest. By default four short recordings that are installed, of which "
        "each shipped codec gets those of its kind.",
    )
    tokenizers: tuple[str, ...] = option(
        (),
        "Tokenizer to use: a shipped or official name, a folder, or a hub id; repeat it for several. By default all "
        "that ship.",
        name="tokenizer",
    )
    generators: tuple[str, ...] = option(
        (),
        "Pipeline to sample from; repeat it for several. By default those that ship for the tokenizers.",
        name="generator",
    )
    train_configs: tuple[str, ...] = option(
        ("train/dit-tiny",), "Config of a generator to train on the first tokenizer; repeat it.", name="train-config"
    )
    overrides: tuple[str, ...] = option((), "KEY=VALUE for each training; repeat it.", name="train-override")
    train_steps: int = option(300, "Number of steps of each training.")
    prompts: tuple[str, ...] = option(
        ("calm orchestral music", "fast techno", "metal with a female voice", "dark electronic soundtrack"),
        "Text to sample from; repeat it for several. A stream changes from the first to the last.",
        name="prompt",
        short="p",
    )
    texts: tuple[str, ...] = option(
        ("Hello there, how are you today?", "This sentence was read by a very small model."),
        "Text to say, for a pipeline that speaks; repeat it for several.",
        name="say",
    )
    seconds: float = option(5.0, "Length of each sample, of a continuation, and of each half of a stream in seconds.")
    num: int = option(1, "Number of samples per prompt and pipeline.")
    decode_options: dict[str, Any] = option(
        factory=dict, help="Options of each tokenizer's own `decode`, such as steps=3.", name="decode-option"
    )
    seed: int = option(0, "Seed of training and of all sampling.")

    def __post_init__(self) -> None:
        for name in ("train_steps", "num"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be a positive number, got {self.seconds}")
        if not self.prompts:
            raise ValueError("prompts is empty: name at least one, which may be empty for samples without a prompt")
        names = [Path(name).name for name in (*self.tokenizers, *self.generators)]
        if len(set(names)) < len(names):
            raise ValueError(f"two tokenizers or generators have the same name: {', '.join(sorted(names))}")


@dataclass(kw_only=True)
class DemoResult:
    """The result of a demo; `demo.json` holds the same."""

    report: str  # path of the HTML page
    stages_s: dict[str, float] = field(default_factory=dict)  # wall-clock time of each stage
    exhibits: list[Exhibit] = field(default_factory=list)  # recordings, in the order of the page
    reconstruction: list[dict[str, Any]] = field(default_factory=list)  # one row per codec and stream
    training: dict[str, dict[str, Any]] = field(default_factory=dict)  # config -> steps, seconds, run, curve
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Wall-clock time of all stages."""
        return sum(self.stages_s.values())


def find_fixtures() -> Path:
    """Returns the manifest of the recordings that are part of the package."""
    return Path(str(files("latentune.demos") / "fixtures" / "manifest.jsonl"))


def run_demo(config: DemoConfig, *, progress: Callable[[str], None] | None = None) -> DemoResult:
    """Encodes and decodes audio with each codec, samples from generators that ship, and trains one for a short while.

    Args:
        config: the demo's settings.
        progress: called with a line of text as each stage begins.

    Returns:
        What was made.

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

    codecs = [_codec(name, config, folder) for name in config.tokenizers or TOKENIZERS]
    for codec in codecs:
        with stage(f"codec {codec.short_name}", f"encoding and decoding with {codec.short_name}"):
            encode(codec, source)
            decode(codec, config)
            result.exhibits += codec_exhibits(codec, source)
            result.reconstruction += codec_figures(codec, source)
    _generate(config, codecs, source, result, stage)
    for name in config.train_configs:
        with stage(f"train {name}", f"training {name} for {config.train_steps} steps"):
            result.training[name] = _train(config, name, codecs[0])
        with stage(f"sample {name}", f"sampling from {name}, as it is now"):
            _sample_trained(config, name, codecs[0], source, result)
    with stage("report", f"writing {result.report}"):
        write_report(config, result, folder)
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


def _codec(name: str, config: DemoConfig, folder: Path) -> Codec:
    tokenizer = latentune.load_tokenizer(name)
    check_decode_options(tokenizer, config.decode_options)
    where = {"label": KINDS[name]} if config.audio is None and name in KINDS else {}
    return Codec(name=name, tokenizer=tokenizer, where=where, folder=folder)


def _generate(
    config: DemoConfig,
    codecs: Sequence[Codec],
    source: Path,
    result: DemoResult,
    stage: Stage,
) -> None:
    """Samples, edits, streams and speaks with the requested generators, or those that ship for the codecs."""
    names = config.generators or [name for codec in codecs for name in shipped_pipelines(codec.tokenizer)]
    loaded = [Generation(name=name, pipeline=latentune.load_pipeline(name)) for name in names]
    players = [one for one in loaded if not one.speaks]
    folder, where = Path(config.output).expanduser(), codecs[0].where
    for one in players:
        count = len(config.prompts) * config.num
        with stage(f"sample {one.short_name}", f"sampling {count} x {config.seconds:g} s with {one.short_name}"):
            result.exhibits.append(
                sample(one, config.prompts, config, folder, section=CAPTIONS, caption=one.short_name)
            )
    recording = Path(str(latentune.find_audio(source, where=where or None)[-1].path))
    makers = {
        "inpainted gap": partial(inpaint, recording=recording, config=config, folder=folder),
        "continuation": partial(extend, recording=recording, config=config, folder=folder),
        "stream": partial(stream, prompts=config.prompts, config=config, folder=folder),
    }
    for what, make in makers.items() if players else ():
        with stage(what, f"making a{'n' if what[0] in 'aeiou' else ''} {what}"):
            found, warning = first_that_can(players, make, what)
            result.exhibits += [found] if found is not None else []
            result.warnings += [warning] if warning else []
    for one in loaded:
        if one.speaks:
            with stage(f"speak {one.short_name}", f"saying {len(config.texts)} sentences with {one.short_name}"):
                result.exhibits.append(say(one, config.texts, config, folder))


def _train(config: DemoConfig, name: str, codec: Codec) -> dict[str, Any]:
    """Trains one generator; returns its figures and its loss curve."""
    output = codec.folder / "runs" / name.replace("/", "_")
    paths = {"data.source": str(codec.latents), "data.tokenizer": codec.name, "output": str(output)}
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


def _sample_trained(config: DemoConfig, name: str, codec: Codec, source: Path, result: DemoResult) -> None:
    """Samples a generator that was trained here, from the texts of the recordings that it was trained on."""
    run = result.training[name]["run"]
    items = latentune.find_audio(source, where=codec.where or None)
    texts = list(dict.fromkeys(str(item.metadata.get("text") or "") for item in items))[-MOST_TRAINED_PROMPTS:]
    one = Generation(name=run, pipeline=latentune.load_pipeline(run, tokenizer=codec.tokenizer))
    result.exhibits.append(
        sample(one, texts, config, codec.folder, section=TRAINED, caption=f"{name} after {config.train_steps} steps")
    )
