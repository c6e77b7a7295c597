"""Which frames a signal has: 16 kHz in, padded to whole encoder hops; 24 kHz out, as many frames as cover the input.

Shape letters: B batch, N samples at the analysis rate, K hops of the padded signal, T frames.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

MIN_HOPS = 2  # the semantic front end needs 400 samples for its first window, and a pair of windows per frame


def padded_hops(num_samples: int, hop_samples: int) -> int:
    """Returns K, the hops of a signal after the official padding, which always adds silence: 1 to hop_samples samples.

    A signal of whole hops thus gains a whole one. A signal shorter than a hop has `MIN_HOPS` here; the official
    NeuCodec has no frame for it.
    """
    return max(MIN_HOPS, num_samples // hop_samples + 1)


def official_frames(num_samples: int, hop_samples: int, *, semantic_lag: int) -> int:
    """Returns the frames that the official package makes of a signal: K - semantic_lag.

    Args:
        num_samples: of the signal.
        hop_samples: of a frame.
        semantic_lag: frames that the semantic encoder has fewer.

    Returns:
        The number of frames.
    """
    return num_samples // hop_samples + 1 - semantic_lag


def hold_last(frames: Tensor, num_frames: int) -> Tensor:
    """Returns frames [B, T, W] as [B, num_frames, W]: cut, or with the last one repeated."""
    missing = num_frames - frames.shape[1]
    if missing <= 0:
        return frames[:, :num_frames]
    return F.pad(frames.mT, (0, missing), mode="replicate").mT
