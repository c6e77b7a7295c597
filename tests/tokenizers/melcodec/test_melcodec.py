"""MelCodec beyond the contract: pieces equal the whole, a causal codec does not look ahead, configs that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.base import Encoded
from latentune.tokenizers.melcodec import MelCodec, MelCodecConfig, SpectrumConfig

# the order of float32 sums, which the phases of harmonics add up over a signal
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def made(**changes: Any) -> MelCodec:
    torch.manual_seed(0)
    codec = MelCodec(replace(MelCodecConfig.tiny(), **changes)).eval()
    torch.nn.init.normal_(codec.encoder.project.linear.weight, std=0.5)
    return codec


@pytest.fixture(scope="module", params=["both ways", "causal", "with a pitch"])
def codec(request: pytest.FixtureRequest) -> MelCodec:
    changes: dict[str, dict[str, Any]] = {"causal": {"causal": True}, "with a pitch": {"pitch_range_hz": (60.0, 400.0)}}
    return made(**changes.get(request.param, {}))


def sound(codec: MelCodec, num_frames: float, seed: int = 0) -> Tensor:
    num_samples = round(num_frames * codec.spec.hop_samples)
    return 0.2 * torch.randn(1, 1, num_samples, generator=torch.Generator().manual_seed(seed))


def live(codec: MelCodec, audio: Tensor, piece: int) -> list[Encoded]:
    stream = codec.stream_encoder()
    parts = [*map(stream.push, audio.split(piece, dim=-1)), stream.flush()]
    return [part for part in parts if part is not None]


@pytest.mark.parametrize("num_frames", [0.3, 1, 7.5, 60])
@pytest.mark.parametrize("piece", [1000, 80, 37])
def test_a_live_stream_is_the_whole_stream(codec: MelCodec, num_frames: float, piece: int) -> None:
    audio = sound(codec, num_frames)
    whole = codec.encode(audio, codec.spec.sample_rate)
    parts = live(codec, audio, piece)
    torch.testing.assert_close(torch.cat([part.latents for part in parts], 1), whole.latents, **CLOSE)
    assert sum(int(part.lengths_samples) for part in parts) == audio.shape[-1]

    stream = codec.stream_decoder()
    pieces = [*map(stream.push, whole.latents.split(2, dim=1)), stream.flush()]
    decoded = torch.cat([part for part in pieces if part is not None], dim=-1)
    expected = codec.decode(latents=whole.latents)
    assert decoded.shape == expected.shape
    torch.testing.assert_close(decoded, expected, **CLOSE)


def test_long_signals_in_pieces_give_the_whole(codec: MelCodec) -> None:
    audio, rate = sound(codec, 90.2), codec.spec.sample_rate
    whole = codec.encode(audio, rate, chunk_s=None)
    torch.testing.assert_close(codec.encode(audio, rate, chunk_s=0.13).latents, whole.latents, **CLOSE)
    expected = codec.decode(latents=whole.latents, chunk_s=None)
    torch.testing.assert_close(codec.decode(latents=whole.latents, chunk_s=0.13), expected, **CLOSE)


def test_a_live_codec_lags_by_what_it_says(codec: MelCodec) -> None:
    hop, total = codec.spec.hop_samples, 40
    stream, given = codec.stream_encoder(), 0
    for number, piece in enumerate(sound(codec, total).split(hop, dim=-1), start=1):
        part = stream.push(piece)
        given += 0 if part is None else part.latents.shape[1]
        assert given == max(0, number - codec.encoder_lag_frames)
    decoder, given = codec.stream_decoder(), 0
    for number in range(1, total + 1):
        audio = decoder.push(torch.zeros(1, 1, codec.spec.latent_dim))
        given += 0 if audio is None else audio.shape[-1] // hop
        assert given == max(0, number - codec.decoder_lag_frames)


def test_a_causal_encoder_does_not_look_ahead() -> None:
    codec = made(causal=True)
    hop, rate = codec.spec.hop_samples, codec.spec.sample_rate
    assert codec.encoder_lag_frames == 0
    audio = sound(codec, 40)
    changed = audio.clone()
    changed[..., 20 * hop :] = sound(codec, 20, seed=1)
    before, after = (codec.encode(x, rate).latents for x in (audio, changed))
    torch.testing.assert_close(before[:, :20], after[:, :20], **CLOSE)
    assert not torch.allclose(before[:, 20:], after[:, 20:], atol=1e-2)
    # decoded audio only waits for the windows that overlap it
    overlap = (codec.settings.synthesis_window_samples - hop) // 2
    first, second = (codec.decode(latents=x) for x in (before, torch.cat((before[:, :20], after[:, 20:]), 1)))
    torch.testing.assert_close(first[..., : 20 * hop - overlap], second[..., : 20 * hop - overlap], **CLOSE)


def test_both_ways_looks_ahead() -> None:
    codec = made()
    audio = sound(codec, 40)
    changed = audio.clone()
    changed[..., 20 * codec.spec.hop_samples :] = 0
    before, after = (codec.encode(x, codec.spec.sample_rate).latents for x in (audio, changed))
    assert not torch.allclose(before[:, 19], after[:, 19], atol=1e-3)
    assert codec.encoder_lag_frames > 0


def test_silence_decodes_to_something_finite(codec: MelCodec) -> None:
    encoded = codec.encode(torch.zeros(1, 1, 4000), codec.spec.sample_rate)
    assert torch.isfinite(codec.decode_encoded(encoded, "tokens")).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spectra": ()}, "spectra is empty"),
        ({"spectra": (SpectrumConfig(window_samples=128, per_frame=3),)}, "must be whole"),
        ({"spectra": (SpectrumConfig(window_samples=30, per_frame=1),)}, "at least that much"),
        ({"levels": ()}, "levels must be at least 2"),
        ({"levels": (4, 1)}, "levels must be at least 2"),
        ({"num_codebooks": 0}, "num_codebooks at least 1"),
        ({"synthesis_window_samples": 300}, "multiple of hop_samples"),
        ({"synthesis_window_samples": 80}, "at least twice"),
        ({"kernel_frames": 4}, "must be odd"),
        ({"latent_scale": 0.0}, "latent_scale"),
        ({"pitch_range_hz": (400.0, 60.0)}, "pitch_range_hz"),
        ({"pitch_range_hz": (60.0, 5000.0)}, "pitch_range_hz"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MelCodecConfig.tiny(), **changes)


def test_a_preset_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="melcodec-speech"):
        MelCodecConfig.preset("melcodec")


def test_there_is_no_other_format(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no MelCodec that save_pretrained wrote, its only format"):
        MelCodec.from_official(tmp_path)


def test_pieces_shorter_than_a_frame_are_refused(codec: MelCodec) -> None:
    with pytest.raises(ValueError, match="chunk_s"):
        codec.encode(sound(codec, 3), codec.spec.sample_rate, chunk_s=0.001)


def test_live_audio_of_another_batch_is_refused(codec: MelCodec) -> None:
    stream = codec.stream_encoder()
    stream.push(torch.zeros(2, 1, 100))
    with pytest.raises(ValueError, match="a batch of 2, got one of 1"):
        stream.push(torch.zeros(1, 1, 100))


@pytest.mark.parametrize("shape", [(1, 1, 81), (1, 2, 80), (1, 80), (1, 1, 0)])
def test_training_audio_that_cannot_be(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="training takes audio"):
        made()(torch.zeros(shape), torch.ones(1, dtype=torch.bool))
