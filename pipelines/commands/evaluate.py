"""The command `latentune evaluate`: the audio of systems compared with real audio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ...core.processes import Place
from .experiment import reconstruction
from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..evaluate import EvaluateConfig


def evaluate(config: EvaluateConfig) -> Outcome:
    """Compare the audio of one or several systems with real audio.

    With `--tokenizer NAME --audio FOLDER [OUTPUT]`, measure what a tokenizer loses (`latentune experiment
    reconstruction`).
    """
    from ..evaluate import embed_share
    from ..evaluate import evaluate as run
    from ..measure.sets.views import evaluation_text

    if Place.now().rank > 0:
        embed_share(config)
        return Outcome(facts=None)
    with progress_bar("measuring") as update:
        result = run(config, progress=lambda side, done, total: update(done, total, side))
    return Outcome(facts=result.to_dict(), text=evaluation_text(result))


class EvaluateCommand(ConfigCommand):
    """The command; with `--tokenizer` it is `experiment reconstruction`, which measures what a tokenizer loses."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if not any(text.partition("=")[0] == "--tokenizer" for text in args):
            return super().make_context(info_name, args, parent, **extra)
        positional = [text.removeprefix("--audio=") for text in args if text != "--audio"]
        return RECONSTRUCTION.make_context(info_name, positional, parent, **extra)


RECONSTRUCTION = ConfigCommand(reconstruction, "pipelines.measure.codecs.config:ExperimentConfig")
command = EvaluateCommand(
    evaluate,
    "pipelines.measure.sets.config:EvaluateConfig",
    resume="run the same command again; with --cache, what is embedded by then is kept",
)
