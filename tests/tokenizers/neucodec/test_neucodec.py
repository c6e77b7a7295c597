"""Properties of NeuCodec beyond the shared contract: sizes, frames and training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latentune.core.config import build_config, config_to_dict
from latentune.core.errors import ConfigError
from latentune.tokenizers.neucodec import (
    DistillNeuCodec,
    DistillNeuCodecConfig,
    NeuCodec,
    NeuCodecConfig,
)
from latentune.tokenizers.neucodec.framing import official_frames, padded_hops

RATE = 16000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def own(codec: NeuCodec, **changes: object) -> NeuCodec:
    """A codec of the same size that a test may change."""
    copy = type(codec)(replace(codec.settings, **changes))
    copy.load_state_dict(codec.state_dict(), strict=not changes)
    return copy.eval()


# ---------------------------------------------------------------------- sizes and frames


COMMON = {"quantiser": 34_824, "decoder": 2_098_176 + 185_557_898 - 34_824}  # as counted in the released files
# where those keep convolutions as directions and gains, gains are as many as a weight's first axis is long
FULL = {
    "semantic_encoder": 387_050_816 - 1024,  # an embedding of masked frames
    "semantic_adapter": 12_584_960,
    "acoustic_encoder": 38_462_480 - 12_976,
    "fusion": 4_196_352,
}
DISTILLED = {
    "semantic_encoder": 23_491_968 - 128 - 768,  # gains of the position convolution; an embedding of masked frames
    "semantic_adapter": 11_012_096,
    "acoustic_encoder": 21_620_384 - 6_020,
    "acoustic_proj": 393_984,
    "fusion": 3_147_776,
}


@pytest.mark.parametrize(
    ("cls", "config", "parameters"),
    [(NeuCodec, NeuCodecConfig, FULL), (DistillNeuCodec, DistillNeuCodecConfig, DISTILLED)],
)
def test_the_released_size_has_the_released_rates_and_parameters(
    cls: type, config: type, parameters: dict[str, int]
) -> None:
    with torch.device("meta"):
        codec = cls(config())
    spec = codec.spec
    assert (spec.sample_rate, spec.hop_samples, spec.codebook_sizes) == (24000, 480, (65536,))
    assert (spec.latent_rate_hz, spec.bitrate_bps, spec.packed_bitrate_bps) == (50, 800, 800)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in codec.named_children()}
    assert counts == parameters | COMMON


def test_the_small_configs_are_small() -> None:
    for cls, config in ((NeuCodec, NeuCodecConfig), (DistillNeuCodec, DistillNeuCodecConfig)):
        for name in config.PRESETS[1:]:
            assert sum(p.numel() for p in cls(config.preset(name)).parameters()) < 12e6
    with pytest.raises(ValueError, match="neucodec-mini"):
        NeuCodecConfig.preset("neucodec-huge")


def test_configs_that_cannot_be_are_refused() -> None:
    values = config_to_dict(NeuCodecConfig.tiny())
    assert build_config(NeuCodecConfig, values) == NeuCodecConfig.tiny()
    for change, message in (
        ({"synthesis": {"hop_samples": 320, "window_samples": 1280}}, "not the same time"),
        ({"synthesis": {"width": 32}}, "at least 64"),
        ({"synthesis": {"window_samples": 1000}}, "multiple of hop_samples"),
        ({"fsq": {"levels": [4, 5]}}, "even numbers"),
        ({"fsq": {"bounds": 0}}, "at least once"),
        ({"acoustic": {"kernel": 4}}, "odd"),
        ({"acoustics": {}}, "did you mean 'acoustic'"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_config(NeuCodecConfig, values | change)


@pytest.mark.parametrize("num_samples", [1, 319, 320, 321, 639, 640, 5000])
def test_frames_cover_the_signal_and_begin_with_the_official_ones(codec: NeuCodec, num_samples: int) -> None:
    audio = noise(1, 1, num_samples)
    encoded = codec.encode(audio, RATE)
    assert encoded.lengths_samples.tolist() == [codec.spec.resampled_length(num_samples, RATE)]
    assert encoded.tokens.shape[1] == math.ceil(num_samples / 320)
    if not official_frames(num_samples, 320, semantic_lag=codec.semantic_lag):
        with pytest.raises(ValueError, match="no frame for audio shorter than 320 samples"):
            codec.encode(audio, RATE, official_length=True)
        return
    official = codec.encode(audio, RATE, official_length=True)
    assert official.tokens.shape[1] == num_samples // 320 + 1 - codec.semantic_lag
    shared = min(official.tokens.shape[1], encoded.tokens.shape[1])
    assert torch.equal(official.tokens[:, :shared], encoded.tokens[:, :shared])
    assert codec.decode_encoded(official).shape[-1] == official.tokens.shape[1] * 480


def test_padding_always_adds_silence() -> None:
    """A signal of whole hops gains a whole one."""
    assert [padded_hops(n, 320) for n in (1, 319, 320, 640, 641)] == [2, 2, 2, 3, 3]


def test_audio_goes_to_16_khz_straight_from_its_own_rate(codec: NeuCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentune.tokenizers import inputs

    seen = []
    real = inputs.to_rate
    monkeypatch.setattr(inputs, "to_rate", lambda x, a, b, *how: seen.append((a, b)) or real(x, a, b, *how))
    codec.encode(noise(1, 1, 4410), 44100)
    assert seen == [(44100, 16000)]


# ---------------------------------------------------------------------- training, precision


def test_the_training_pass_is_encode_and_decode(codec: NeuCodec) -> None:
    audio = noise(2, 1, 320 * 20)
    with torch.no_grad():
        made = codec(audio)
    encoded = codec.encode(audio, RATE)
    assert torch.equal(codec.quantiser.values_to_tokens(made.values), encoded.tokens)
    assert made.reconstruction.shape == (2, 1, 480 * 20)
    torch.testing.assert_close(
        made.reconstruction.clamp(-1, 1), codec.decode_encoded(encoded, "tokens"), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(codec.fuse(audio), made.fused)
    assert made.semantic_prediction is None
    for wrong in (audio[0], audio[..., :-1], audio.expand(-1, 2, -1)):
        with pytest.raises(ValueError, match=r"\[B, 1, N\] at 16000 Hz"):
            codec(wrong)


def test_training_reaches_every_weight_but_the_semantic_encoders(codec: NeuCodec) -> None:
    student = own(codec, predict_semantic=True).train()
    made = student(noise(2, 1, 320 * 10))
    assert made.semantic_prediction.shape == made.semantic_target.shape == (2, 10, 16)
    assert not made.semantic_target.requires_grad
    loss = made.reconstruction.square().mean() + (made.semantic_prediction - made.semantic_target).square().mean()
    loss.backward()
    lost = [name for name, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(name.startswith("semantic_encoder.") for name in lost), lost
    assert not any(p.requires_grad for p in student.semantic_encoder.parameters())


def test_training_mode_leaves_the_semantic_encoder_as_it_is(codec: NeuCodec) -> None:
    student, audio = own(codec).train(), noise(1, 320 * 10)
    assert torch.equal(student.semantic_frames(audio), codec.semantic_frames(audio))
