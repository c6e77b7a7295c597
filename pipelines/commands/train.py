"""The command `latentune train`, whose help shows the keys of a given config."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ...core.processes import Place
from .options import OVERRIDE, ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..train import TrainConfig


def train(config: TrainConfig, *, resume: str, **options: Any) -> Outcome:
    """Train a codec or a generator.

    Run it again to resume an interrupted run. `latentune train CONFIG --help` shows the keys of that config with their
    values and meanings.
    """
    from ..train import train as run

    with progress_bar("training", lines=False) as update:

        def report(done: int, total: int, figures: dict[str, float]) -> None:
            update(done, total, f"loss {figures['loss']:.4g}")

        summary = run(
            config,
            resume=None if resume == "none" else resume,
            progress=report,
            **options,
        )
    if Place.now().rank > 0:
        return Outcome(facts=None)
    text = f"{summary.checkpoint}: {summary.steps} steps"
    text += ", already complete" if summary.already_complete else f", loss {summary.loss:.4g}"
    if summary.valid_loss is not None:
        text += f", held-out {summary.valid_loss:.4g}"
    return Outcome(facts=asdict(summary), text=text)


class TrainCommand(ConfigCommand):
    """The command, whose help lists the keys of the config that is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["train.arguments"] = [text for text in args if not text.startswith("-")]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        texts = ctx.meta["train.arguments"]
        if not texts:
            super().format_options(ctx, formatter)
            return
        from .keys import key_rows

        source, *overrides = texts
        with formatter.section(f"Keys of {source} and their values; KEY=VALUE sets one"):
            formatter.write_dl(key_rows(source, [text for text in overrides if OVERRIDE.match(text)]))


command = TrainCommand(
    train,
    "pipelines.training.config:TrainConfig",
    build="pipelines.training.config:train_config",
    extra=[
        click.Option(
            ["--resume"],
            default="auto",
            help="Where to start: auto (the last checkpoint of the run, if there is one), none, or a checkpoint folder."
            "  [default: auto]",
        ),
        click.Option(
            ["--allow-changed-data"],
            is_flag=True,
            help="Resume a run although its data, crops, columns or augmentation changed; the log names what did.",
        ),
    ],
    file_first=True,
    resume="run the same command again to resume from the last checkpoint",
)
