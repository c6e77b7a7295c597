"""Rate, channels and loudness of audio: the conversions of the tokenizers, and a policy for channels.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ....layers.audio import to_channels, to_rate
from ....layers.loudness import measure_loudness, normalise_loudness

resample = to_rate

ChannelPolicy = Literal["mix", "first", "error"]

__all__ = ["ChannelPolicy", "measure_loudness", "normalise_loudness", "resample", "select_channels", "to_channels"]


def select_channels(audio: Tensor, channels: int, policy: ChannelPolicy = "mix") -> Tensor:
    """Converts audio to a number of channels.

    Args:
        audio: [C, N].
        channels: wanted number.
        policy: where there are more channels, `mix` averages all of them, and `first` takes the first ones; `error`
            converts nothing. With the other two, channels that are missing are copies of mono.

    Returns:
        Audio [channels, N].

    Raises:
        ValueError: the policy does not allow these channels.
    """
    if len(audio) == channels:
        return audio
    if policy == "error":
        raise ValueError(f"audio has {len(audio)} channels, {channels} required: allow conversion or convert the file")
    if policy == "first" and len(audio) > channels:
        return audio[:channels]
    return to_channels(audio.mean(0, keepdim=True), channels)
