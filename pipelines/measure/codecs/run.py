"""Runs the experiment of a name: `latentune experiment` as a function."""

from __future__ import annotations

from collections.abc import Callable

from ....core.config import nearest_hint
from ....core.errors import ConfigError
from ....core.outputs import prepare_output
from ....tokenizers.base import AudioTokenizer
from ..embedders import Embedder
from ..results.findings import Findings
from .boundaries import boundaries_experiment
from .config import ExperimentConfig
from .evaluate import Progress
from .gap import gap_experiment
from .histograms import histograms_experiment
from .labels import labels_experiment
from .memory import memory_experiment
from .rates import rates_experiment
from .reconstruction import reconstruction_experiment
from .setup import Setup
from .steps import steps_experiment

EXPERIMENTS: dict[str, Callable[[Setup], Findings]] = {
    "reconstruction": reconstruction_experiment,
    "steps": steps_experiment,
    "gap": gap_experiment,
    "boundaries": boundaries_experiment,
    "labels": labels_experiment,
    "rates": rates_experiment,
    "histograms": histograms_experiment,
    "memory": memory_experiment,
}


def run_experiment(
    name: str,
    config: ExperimentConfig,
    tokenizer: AudioTokenizer | None = None,
    *,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Runs an experiment and writes its CSV, JSON, HTML and PNG where the config says.

    Args:
        name: out of `EXPERIMENTS`.
        config: of the experiment.
        tokenizer: loaded before, in place of the config's.
        embedder: loaded before, in place of the config's.
        progress: called with (files done, files in all).

    Returns:
        The table and how it is shown.

    Raises:
        ConfigError: no such experiment, or an option that the codec's `decode` does not have.
        FileNotFoundError, ValueError: no such audio, or an experiment that this codec is not for.
        AudioError: not one file could be measured. Those that could not are listed in the result.
        OSError: an output that cannot be written; found out before anything is measured.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(f"no experiment is called {name!r}: {nearest_hint(name, EXPERIMENTS)}")
    folder = None if config.output is None else prepare_output(config.output)
    found = EXPERIMENTS[name](Setup.of(config, tokenizer, embedder=embedder, progress=progress))
    if folder is not None:
        found.write(folder)
    return found
