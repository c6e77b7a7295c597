"""The command `latentune edit`, with options of the generators that ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sample import SampleCommand
from .tools import Outcome

if TYPE_CHECKING:
    from ..edit import EditConfig


def edit(config: EditConfig) -> Outcome:
    """Edit a recording: replace regions, continue, vary it, or make a loop."""
    from ..edit import edit_audio

    record = edit_audio(config)
    text = f"{config.output}: {record['seconds']:.2f} s at {record['sample_rate']} Hz, {record['channels']} channel(s)"
    return Outcome(facts=record, text=text)


command = SampleCommand(edit, "pipelines.edit:EditConfig")
