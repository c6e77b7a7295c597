"""Audio of values, in one of the two modes of the paper (section 3.4).

Shape letters in addition to those of `AudioTokenizer`: K chunks of an item, d FSQ dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from .autoregressive import TIME_PROMPT, check_time_prompt, decode_autoregressive
from .batching import MaxChunks, chunk_bound
from .noise import Noise, SeededNoise
from .parallel import decode_parallel
from .pieces import Piece, joined

if TYPE_CHECKING:
    from .model import CoDiCodec

Mode = Literal["parallel", "autoregressive"]

PARALLEL_STEPS = 5  # default denoising steps; the paper finds the elbow at 3 to 4
AUTOREGRESSIVE_STEPS = 2


def decode_values(
    codec: CoDiCodec,
    values: Tensor,
    counts: Sequence[int],
    generator: torch.Generator | None,
    *,
    mode: Mode = "parallel",
    steps: int | None = None,
    time_prompt: float | None = None,
    max_chunks: MaxChunks = "auto",
    noise: Noise | None = None,
) -> Iterator[Piece]:
    """Returns the audio of items in pieces that abut, which are decoded as they are asked for.

    Args:
        codec: the codec.
        values: [B, K, summaries, d].
        counts: chunks of each item.
        generator: source of the noise.
        mode: as of `CoDiCodec.decode`, like all further options.
        steps: as there.
        time_prompt: as there.
        max_chunks: as there.
        noise: as there.

    Raises:
        ValueError: options that cannot be, or do not go together; raised at once.
    """
    if mode not in ("parallel", "autoregressive"):
        raise ValueError(f"mode must be 'parallel' or 'autoregressive', got {mode!r}")
    default = PARALLEL_STEPS if mode == "parallel" else AUTOREGRESSIVE_STEPS
    steps = default if steps is None else steps
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    noise = SeededNoise(codec.settings, len(values), generator) if noise is None else noise
    work = codec, values, counts, noise, steps, chunk_bound(max_chunks, codec.device)
    if mode == "autoregressive":
        made = decode_autoregressive(*work, TIME_PROMPT if time_prompt is None else check_time_prompt(time_prompt))
    elif time_prompt is None:
        made = decode_parallel(*work)
    else:
        raise ValueError("time_prompt is of the mode autoregressive: parallel decoding has no previous chunk")
    return joined(made, codec.settings.stft_hop_samples, codec.lead_samples)
