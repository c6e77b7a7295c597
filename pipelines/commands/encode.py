"""The command `latentune encode`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...core.processes import Place
from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..encode import EncodeConfig, EncodeProgress


def encode(config: EncodeConfig) -> Outcome:
    """Encode audio into a dataset of latents and tokens.

    Run it again to complete a dataset that was interrupted. Under torchrun, the processes share the work.
    """
    from ..encode import encode_dataset

    place = Place.now()
    if place.count > 1:
        config = replace(config, rank=place.rank, world_size=place.count)
    with progress_bar("encoding", lines=False) as update:

        def report(state: EncodeProgress) -> None:
            speed = f"{state.audio_hours_per_hour:.1f} h of audio per hour" if state.audio_s else state.phase
            update(state.items_done, state.items_total, speed)

        summary = encode_dataset(config, progress=report)
    text = f"{summary.path}: {summary.num_items} items, {summary.hours:.3f} h, {summary.num_failed} left out"
    if summary.num_failed:
        text += " (see failed.jsonl)"
    if summary.already_complete:
        text += ", already complete"
    if not summary.complete:
        text += f"; not complete: shards of the other {config.world_size - 1} processes are missing"
    return Outcome(facts=summary.to_dict(), text=text)


command = ConfigCommand(encode, "pipelines.encode:EncodeConfig", resume="run the same command again to resume")
