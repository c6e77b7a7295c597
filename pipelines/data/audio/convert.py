"""Rate, channels and loudness of audio: the conversions of the tokenizers, and a policy for channels.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ....layers.audio import to_channels, to_rate
from ....layers.loudness import measure_loudness, normalise_loudness

resample = to_rate

ChannelPolicy = Literal["convert", "mono", "first", "require"]

__all__ = ["ChannelPolicy", "measure_loudness", "normalise_loudness", "resample", "select_channels", "to_channels"]


def select_channels(audio: Tensor, channels: int, policy: ChannelPolicy = "convert") -> Tensor:
    """Converts audio to a number of channels.

    Args:
        audio: [C, N].
        channels: wanted number.
        policy: `convert` duplicates mono and averages to mono, and refuses other mixes, such as 6 channels to 2;
            `mono` averages all channels first; `first` takes only the first channel; `require` converts nothing.

    Returns:
        Audio [channels, N].

    Raises:
        ValueError: the policy does not allow these channels.
    """
    if policy == "require" and len(audio) != channels:
        raise ValueError(f"audio has {len(audio)} channels, {channels} required: allow conversion or convert the file")
    if policy == "mono":
        audio = audio.mean(0, keepdim=True)
    elif policy == "first":
        audio = audio[:1]
    return to_channels(audio, channels)
