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
    add: dict[str, str] = option(
        factory=dict,
        help="Embeddings to store with the dataset, by metadata column: text=frozen_text:FOLDER or text=clap:FILE.pt. "
        "The column `audio` is the sound of the items: audio=clap:FILE.pt.",
    )
    against: str | None = option(
        None, "Source of the dataset as it is now: a folder, file or manifest, whose files are compared by content."
    )
    codebook: bool = option(False, "Count all tokens: entropy, usage and bit rates.")


def info(config: InfoConfig) -> Outcome:
    """Show what a dataset holds, check it, and add embeddings of its prompts."""
    from ..data.shards.embed import store_embeddings
    from ..info import dataset_info, render

    for column, source in config.add.items():
        with progress_bar(f"embedding {column}") as update:
            store_embeddings(config.dataset, column, source, progress=update)
    with progress_bar("verifying") as update:
        facts = dataset_info(
            config.dataset, verify=config.verify, progress=update, codebook=config.codebook, against=config.against
        )
    return Outcome(facts=facts, text=render(facts), exit_code=1 if facts.get("problems") else 0)


command = ConfigCommand(info, "pipelines.commands.info:InfoConfig")
