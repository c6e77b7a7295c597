"""The command `latentune evaluate`: the audio of systems compared with real audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..evaluate import EvaluateConfig


def evaluate(config: EvaluateConfig) -> Outcome:
    """Compare the audio of one or several systems with real audio.

    To measure what a tokenizer loses, use `latentune experiment reconstruction`.
    """
    from ..evaluate import evaluate as run
    from ..measure.sets.views import evaluation_text

    with progress_bar("measuring") as update:
        result = run(config, progress=lambda side, done, total: update(done, total, side))
    return Outcome(facts=result.to_dict(), text=evaluation_text(result))


def _refuse_tokenizer(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.fail(f"To measure a tokenizer, use: latentune experiment reconstruction AUDIO --tokenizer {value}")


command = ConfigCommand(
    evaluate,
    "measure.sets.config:EvaluateConfig",
    extra=[click.Option(["--tokenizer"], hidden=True, expose_value=False, callback=_refuse_tokenizer)],
)
