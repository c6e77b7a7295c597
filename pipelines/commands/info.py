"""The command `latentune info`."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.config import option
from .options import ConfigCommand
from .tools import Outcome, progress_bar


@dataclass(frozen=True, kw_only=True)
class InfoConfig:
    """A dataset, and what to find out about it."""

    dataset: str = option(help="Folder of a dataset that `latentune encode` wrote.", positional=True)
    verify: bool = option(False, "Read the whole dataset and check its hashes.")
    codebook: bool = option(False, "Count all tokens: entropy, usage and bit rates.")


def info(config: InfoConfig) -> Outcome:
    """Show what a dataset holds, and check it."""
    from ..info import dataset_info, render

    with progress_bar("verifying") as update:
        facts = dataset_info(config.dataset, verify=config.verify, progress=update, codebook=config.codebook)
    return Outcome(facts=facts, text=render(facts), exit_code=1 if facts.get("problems") else 0)


command = ConfigCommand(info, "pipelines.commands.info:InfoConfig")
