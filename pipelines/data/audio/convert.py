"""Rate, channels and loudness of audio: what the tokenizers use, and a policy for channels.

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
    """Audio [C, N] as [channels, N].

    Args:
        policy: `convert` duplicates mono and averages to mono, and refuses other mixes, such as 6 channels to 2;
            `mono` averages all channels first; `first` takes the first channel alone; `require` converts nothing.

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
