"""The command `latentune decode`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..decode import DecodeConfig


def decode(config: DecodeConfig) -> Outcome:
    """Decode a dataset to audio files."""
    from ..decode import decode_dataset

    with progress_bar("decoding") as update:
        records = decode_dataset(config, progress=update)
    return Outcome(facts={"output": config.output, "items": records}, text=f"{config.output}: {len(records)} files")


command = ConfigCommand(decode, "pipelines.decode:DecodeConfig")
