"""An experiment by its name: what `latentune experiment` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...tokenizers.base import AudioTokenizer
from ...tokenizers.parts.config import nearest_hint
from ...tokenizers.parts.errors import ConfigError
from ..metrics.embedders import Embedder
from ..outputs import prepare_output
from .boundaries import boundaries_experiment
from .config import ExperimentConfig
from .gap import gap_experiment
from .reconstruction import reconstruction_experiment
from .result import ExperimentResult
from .setup import Setup
from .steps import steps_experiment

if TYPE_CHECKING:
    from rich.console import Group

Experiment = Callable[[Setup, Callable[[int, int], None] | None], ExperimentResult]
EXPERIMENTS: dict[str, Experiment] = {
    "reconstruction": reconstruction_experiment,
    "steps": steps_experiment,
    "gap": gap_experiment,
    "boundaries": boundaries_experiment,
}
# columns of the table on the terminal; of reconstruction, a figure a column
SHOWN = {
    "steps": ("stream", "steps", "mel_distance", "stft_distance", "si_sdr_db", "decode_rtf", "fad"),
    "gap": ("figure", "latents", "tokens", "difference", "p_value"),
    "boundaries": ("system", "num_borders", "near_error", "far_error", "excess", "step_ratio", "original_step_ratio"),
}


def run_experiment(
    name: str,
    config: ExperimentConfig,
    tokenizer: AudioTokenizer | None = None,
    *,
    embedder: Embedder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExperimentResult:
    """Run the experiment called `name` and write its CSV, JSON and PNG where the config says.

    Args:
        tokenizer, embedder: loaded before, in place of the config's.
        progress: called with (files done, files in all).

    Raises:
        ConfigError: no such experiment.
        FileNotFoundError, ValueError: no such audio, or an experiment that this codec is not for.
        AudioError: not one file could be measured. Those that could not are listed in the result.
        OSError: an output that cannot be written; found out before anything is measured.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(f"no experiment is called {name!r}: {nearest_hint(name, EXPERIMENTS)}")
    folder = None if config.output is None else prepare_output(config.output)
    result = EXPERIMENTS[name](Setup.of(config, tokenizer, embedder=embedder), progress)
    if folder is not None:
        result.write(folder)
    return result


def render(result: ExperimentResult) -> Group:
    """The table and warnings of a result for a rich console."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if result.name == "reconstruction":
        summary = result.facts["summary"]
        systems = [row["system"] for row in summary]
        columns: tuple[str, ...] = ("figure", *systems)
        figures = [key for key in summary[0] if key not in ("system", "num_files")]
        rows = [{"figure": name, **{row["system"]: _with_interval(row[name]) for row in summary}} for name in figures]
        distances = result.facts["frechet"]
        if distances is not None:
            rows.append({"figure": distances["metric"], **distances["values"]})
    else:
        columns, rows = SHOWN[result.name], result.rows
    table = Table(*columns, box=None, title=result.name, title_justify="left")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    parts: list[Any] = [table, *(Text(f"warning: {line}", style="yellow") for line in result.warnings)]
    parts += [Text(f"{figure}: by {model}") for figure, model in result.facts.get("models", {}).items()]
    return Group(*parts, Text(f"{result.facts['num_files']} files, {len(result.facts['failures'])} left out"))


def _with_interval(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return "-"
    width = "" if figure["low"] is None else f" [{figure['low']:.4g}, {figure['high']:.4g}]"
    return f"{figure['mean']:.4g}{width}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
