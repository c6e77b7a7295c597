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
from pathlib import Path
from typing import Any

import latentune
from latentune.core.config import config_to_dict
from latentune.core.extras import check_report_packages
from latentune.core.files import write_json
from latentune.core.outputs import prepare_output
from latentune.demos.walkthrough_codecs import KINDS, TOKENIZERS, Codec, codec_exhibits, codec_figures, decode, encode
from latentune.demos.walkthrough_config import DemoConfig
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
from latentune.pipelines.data.audio.fixtures import find_fixtures
from latentune.pipelines.generation.load import shipped_pipelines
from latentune.tokenizers.inputs import check_decode_options

logger = logging.getLogger(__name__)

Stage = Callable[[str, str], AbstractContextManager[None]]  # (name, line of progress)

STATE = "demo.json"  # marks a folder as the demo's own, and holds its figures at the end
OWN_FOLDERS = ("latents", "decoded", "runs", "samples", "edits", "streams", "speech")
MOST_TRAINED_PROMPTS = 2  # texts of recordings that a generator trained here is asked for


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


def run_demo(config: DemoConfig, *, progress: Callable[[str], None] | None = None) -> DemoResult:
    """Encodes and decodes audio with each codec, samples from generators that ship, and trains one for a short while.

    Args:
        config: the demo's settings.
        progress: called with a line of text as each stage begins.

    Returns:
        What was made.

    Raises:
        ValueError: the folder holds other files, or there is no audio to work on.
        CheckpointError, ConfigError: a tokenizer, a generator or a config that cannot be loaded; nothing is written.
        MissingPackageError: the packages of the report are not installed.
        OSError: it cannot be written to.
    """
    check_report_packages("the demo's report")
    source = find_fixtures() if config.audio is None else Path(config.audio)
    latentune.find_audio(source)  # refuses what holds no audio, before the output is touched
    folder = Path(config.output).expanduser()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / STATE).is_file():
        raise ValueError(f"{folder} holds other files: choose a new folder for the demo")
    codecs = [_codec(name, config, folder) for name in config.tokenizers or TOKENIZERS]
    generators = _generators(config, codecs)
    trainings = {name: _train_config(config, name, codecs[0]) for name in config.train_configs}
    _make_fresh(folder)
    result = DemoResult(report=str(folder / "report.html"))

    @contextmanager
    def stage(name: str, what: str) -> Iterator[None]:
        if progress is not None:
            progress(what)
        begun_s = time.monotonic()
        yield
        result.stages_s[name] = time.monotonic() - begun_s
        logger.info("%s took %.1f s", name, result.stages_s[name])

    for codec in codecs:
        with stage(f"codec {codec.short_name}", f"encoding and decoding with {codec.short_name}"):
            encode(codec, source)
            decode(codec, config)
            result.exhibits += codec_exhibits(codec, source)
            result.reconstruction += codec_figures(codec, source)
    _generate(config, generators, codecs[0], source, result, stage)
    for name, training in trainings.items():
        with stage(f"train {name}", f"training {name} for {config.train_steps} steps"):
            result.training[name] = _train(training)
        with stage(f"sample {name}", f"sampling from {name}, as it is now"):
            _sample_trained(config, name, codecs[0], source, result)
    with stage("report", f"writing {result.report}"):
        write_report(config, result, folder)
    write_json(folder / STATE, {"finished": True, "config": config_to_dict(config), **asdict(result)})
    return result


def _make_fresh(folder: Path) -> None:
    """Creates the output folder, and removes what an earlier demo left in it."""
    prepare_output(folder)
    for name in OWN_FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    write_json(folder / STATE, {"finished": False})


def _codec(name: str, config: DemoConfig, folder: Path) -> Codec:
    tokenizer = latentune.load_tokenizer(name)
    check_decode_options(tokenizer, config.decode_options)
    where = {"label": KINDS[name]} if config.audio is None and name in KINDS else {}
    return Codec(name=name, tokenizer=tokenizer, where=where, folder=folder)


def _generators(config: DemoConfig, codecs: Sequence[Codec]) -> list[Generation]:
    """Returns the generators that are asked for, or those that ship for the codecs."""
    names = config.generators or [name for codec in codecs for name in shipped_pipelines(codec.tokenizer)]
    return [Generation(name=name, pipeline=latentune.load_pipeline(name)) for name in names]


def _generate(
    config: DemoConfig,
    loaded: Sequence[Generation],
    codec: Codec,
    source: Path,
    result: DemoResult,
    stage: Stage,
) -> None:
    """Samples, edits, streams and speaks; edits are of a recording of `codec`."""
    players = [one for one in loaded if not one.pipeline.can_speak]
    folder, where = codec.folder, codec.where
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
        if one.pipeline.can_speak:
            with stage(f"speak {one.short_name}", f"saying {len(config.texts)} sentences with {one.short_name}"):
                result.exhibits.append(say(one, config.texts, config, folder))


def _train_config(config: DemoConfig, name: str, codec: Codec) -> latentune.TrainConfig:
    """Returns the config of the training of one generator on the codec's recordings."""
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
    return latentune.train_config(latentune.load_settings(name, [*overrides, *config.overrides]))


def _train(config: latentune.TrainConfig) -> dict[str, Any]:
    """Trains one generator; returns its figures and its loss curve."""
    summary = latentune.train(config, resume=None)
    output = Path(config.output)
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
