"""The command `latentune encode`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..encode import EncodeConfig, EncodeProgress


def encode(config: EncodeConfig) -> Outcome:
    """Encode audio into a dataset of latents and tokens.

    Run it again to complete a dataset that was interrupted. Processes that encode into the same folder at the same
    time, under torchrun, srun or by hand, share the work.
    """
    from ..encode import encode_dataset

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
    elif summary.num_shards_encoded < summary.num_shards:
        text += f", {summary.num_shards_encoded} of {summary.num_shards} shards by this process"
    if not summary.complete:
        text += f"; all shards are encoded, {summary.completed_by} completes the dataset"
    return Outcome(facts=summary.to_dict(), text=text)


command = ConfigCommand(encode, "pipelines.encode:EncodeConfig", resume="run the same command again to resume")
