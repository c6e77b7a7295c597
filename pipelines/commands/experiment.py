"""The commands `latentune experiment ...`: measurements of one codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..measure.channel.config import ProbeConfig, RobustnessConfig
    from ..measure.codecs.config import ExperimentConfig


def reconstruction(config: ExperimentConfig) -> Outcome:
    """Measure what a codec loses: distances, level, speech figures, bit rate, speed."""
    return _measure("reconstruction", config)


def steps(config: ExperimentConfig) -> Outcome:
    """Measure a codec at several numbers of decoding steps."""
    return _measure("steps", config)


def gap(config: ExperimentConfig) -> Outcome:
    """Measure what the quantizer of a codec costs: tokens compared with latents."""
    return _measure("gap", config)


def boundaries(config: ExperimentConfig) -> Outcome:
    """Measure the errors of a codec at the boundaries of its chunks."""
    return _measure("boundaries", config)


def labels(config: ExperimentConfig) -> Outcome:
    """Measure how well a linear classifier predicts a label from the latents and tokens of a codec."""
    return _measure("labels", config)


def rates(config: ExperimentConfig) -> Outcome:
    """Measure rate and distortion of a codec's latents in scalar levels and in residual codebooks."""
    return _measure("rates", config)


def histograms(config: ExperimentConfig) -> Outcome:
    """Measure how the latents of codecs are distributed between the levels of their quantizers."""
    return _measure("histograms", config)


def memory(config: ExperimentConfig) -> Outcome:
    """Measure the peak memory of encoding and decoding at several lengths, each in a process of its own."""
    return _measure("memory", config)


def robustness(config: RobustnessConfig) -> Outcome:
    """Measure what a channel that damages tokens does to the audio of a codec."""
    from ..measure.channel.experiment import run_robustness

    with progress_bar("measuring") as update:
        result = run_robustness(config, progress=update)
    return Outcome(facts=result.to_dict(), text=result.view())


def probe(config: ProbeConfig) -> Outcome:
    """Compare the tokens of two encoders that share a quantizer."""
    from ...core.figures import can_draw
    from ...core.files import write_json
    from ...core.outputs import prepare_output
    from ...tokenizers.load import load_tokenizer
    from ..measure.channel.plots import locality_png
    from ..measure.channel.probe import probe_encoders

    folder = prepare_output(config.output)
    first, second = load_tokenizer(config.first), load_tokenizer(config.second)
    config.prepare(first, second)
    with progress_bar("encoding") as update:
        result = probe_encoders(first, second, config.audio, max_duration_s=config.max_duration_s, progress=update)
    write_json(folder / "locality.json", result.to_dict())
    if can_draw("plots"):
        locality_png(folder / "locality.png", result)
    text = f"{result.summary()}; {len(result.failures)} files left out; see {folder}"
    return Outcome(facts=result.to_dict(), text=text)


def _measure(name: str, config: ExperimentConfig) -> Outcome:
    from ..measure.codecs.run import run_experiment

    with progress_bar("measuring") as update:
        result = run_experiment(name, config, progress=update)
    return Outcome(facts=result.to_dict(), text=result.view())


@click.group(no_args_is_help=True)
def command() -> None:
    """Measure one codec, from reconstruction and steps to memory, robustness and probe."""


for run in (reconstruction, steps, gap, boundaries, labels, rates, histograms, memory):
    command.add_command(ConfigCommand(run, "pipelines.measure.codecs.config:ExperimentConfig"))
command.add_command(ConfigCommand(robustness, "pipelines.measure.channel.config:RobustnessConfig"))
command.add_command(ConfigCommand(probe, "pipelines.measure.channel.config:ProbeConfig"))
