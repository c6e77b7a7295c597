"""One forward pass of NeuCodec for training.

Shape letters: B batch, N audio samples at the encoders' rate, T frames, V width of the fused frames, S width of the
semantic ones, d dimensions of the quantiser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...layers.audio import span, to_rate

if TYPE_CHECKING:
    from .model import NeuCodec

FIT_ITEMS = 16  # that are encoded at once, which bounds the memory


class TrainingPass(NamedTuple):
    """The results of one forward pass that a training objective needs."""

    reconstruction: Tensor  # [B, 1, T * hop] at the decoder's rate
    fused: Tensor  # [B, T, V] the quantiser's input, in which a distilled encoder is compared with its teacher
    z: Tensor  # [B, T, d] not yet bounded
    values: Tensor  # [B, T, d] rounded, with straight-through gradient
    semantic_target: Tensor  # [B, T, S] of the semantic encoder, without gradient
    semantic_prediction: Tensor | None  # [B, T, S] of the semantic decoder, where the config has one


def hear(codec: NeuCodec, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Encodes audio [B, 1, N] of whole hops to semantic frames [B, T, S] and fused frames [B, T, V], T = N / hop.

    Raises:
        ValueError: another shape.
    """
    hop = codec.encoder_hop_samples
    num_frames, rest = divmod(audio.shape[-1], hop)
    if audio.ndim != 3 or audio.shape[1] != 1 or rest or not num_frames:
        raise ValueError(
            f"training takes audio [B, 1, N] at {codec.settings.encoder_rate} Hz, N a multiple of {hop}, "
            f"got {tuple(audio.shape)}"
        )
    padded = span(audio[:, 0], 0, (num_frames + 1) * hop)
    semantic = codec.semantic_frames(padded)
    return semantic[:, :num_frames], codec.fused_frames(semantic, padded)[:, :num_frames]


def training_pass(codec: NeuCodec, audio: Tensor) -> TrainingPass:
    """Passes audio [B, 1, N] through encoders, quantiser and decoder."""
    semantic, fused = hear(codec, audio)
    z = codec.quantiser.project_in(fused)
    values = codec.quantiser.straight_through(codec.quantiser.squash(z))
    embedding = codec.quantiser.embed(values)
    predicted = None
    if codec.settings.predict_semantic:
        predicted = codec.semantic_decoder(codec.semantic_out(embedding))
    return TrainingPass(
        reconstruction=codec.decoder(embedding),
        fused=fused,
        z=z,
        values=values,
        semantic_target=semantic,
        semantic_prediction=predicted,
    )


@torch.no_grad()
def fit_start(codec: NeuCodec, audio: Tensor, *, quantiser: bool) -> None:
    """Sets the decoder's mean spectrum, and the quantiser's principal components, from audio.

    Args:
        codec: whose weights are random.
        audio: [M, 1, N] at the decoder's rate, N of whole hops.
        quantiser: False leaves it as it is.
    """
    codec.decoder.head.fit(audio[:, 0])
    if quantiser:
        heard = to_rate(audio, codec.settings.sample_rate, codec.settings.encoder_rate)
        frames = [hear(codec, part)[1].float().flatten(0, 1) for part in heard.split(FIT_ITEMS)]
        codec.quantiser.fit(torch.cat(frames))
