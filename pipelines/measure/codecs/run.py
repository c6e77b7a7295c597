"""An experiment by its name: what `latentune experiment` and `latentune evaluate --tokenizer` do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ....core.config import nearest_hint
from ....core.errors import ConfigError
from ....core.outputs import prepare_output
from ....tokenizers.base import AudioTokenizer
from ..embedders import Embedder
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


def run_experiment(
    name: str,
    config: ExperimentConfig,
    tokenizer: AudioTokenizer | None = None,
    *,
    embedder: Embedder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExperimentResult:
    """Run the experiment called `name` and write its CSV, JSON, HTML and PNG where the config says.

    Args:
        tokenizer, embedder: loaded before, in place of the config's.
        progress: called with (files done, files in all).

    Raises:
        ConfigError: no such experiment, or an option that the codec's `decode` does not have.
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
    """The tables and warnings of a result for a rich console, as plain text: square brackets in names are no markup."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    for one in result.tables:
        table = Table(box=None, title=Text(one.caption, style="table.title"), title_justify="left")
        for number, column in enumerate(one.columns):
            table.add_column(Text(column), overflow="fold", no_wrap=not number)
        for row in one.rows:
            table.add_row(*(Text(_cell(value)) for value in row))
        parts += [table, ""]
    parts += [Text(f"warning: {line}", style="yellow") for line in result.warnings]
    parts += [Text(f"{figure}: by {model}") for figure, model in result.facts["models"].items()]
    return Group(*parts, Text(f"files: {result.facts['num_files']} measured, {len(result.facts['failures'])} left out"))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
