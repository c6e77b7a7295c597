"""The command `latentune sample`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..sample import SampleConfig


def sample(config: SampleConfig) -> Outcome:
    """Sample audio from prompts."""
    from ..sample import sample_to_folder

    with progress_bar("sampling") as update:
        records = sample_to_folder(config, progress=update)
    text = f"{config.output}: {len(records)} samples"
    return Outcome(facts={"output": config.output, "samples": records}, text=text)


command = ConfigCommand(sample, "sample:SampleConfig")
