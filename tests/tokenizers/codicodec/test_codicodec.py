"""Properties of CoDiCodec: lengths, both streams, bounded memory, batches, streams, saving, bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.codicodec.decoding import pairing
from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.parts.errors import CheckpointError

RATE = 48000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("num_samples", [1, 2, 127, 2048, 2049, 4096 - 128, 4096 - 127, 9999])
@pytest.mark.parametrize("channels", [1, 2])
def test_output_is_exactly_as_long_as_the_input(tiny_codec: CoDiCodec, num_samples: int, channels: int) -> None:
    encoded = tiny_codec.encode(noise(1, channels, num_samples), RATE)
    assert encoded.latents.shape[1] == tiny_codec.spec.num_latents(num_samples)
    assert encoded.tokens.shape[1:] == (tiny_codec.spec.num_tokens(num_samples), 1)
    audio = tiny_codec.decode(latents=encoded.latents, lengths_samples=encoded.lengths_samples, steps=1)
    assert audio.shape == (1, 2, num_samples)
    assert audio.abs().max() <= 1


@pytest.mark.parametrize("sample_rate", [8000, 44100, 96000])
def test_other_rates_are_converted(tiny_codec: CoDiCodec, sample_rate: int) -> None:
    encoded = tiny_codec.encode(noise(1, 1, 1001), sample_rate)
    assert int(encoded.lengths_samples) == round(1001 * RATE / sample_rate)


@pytest.mark.parametrize("preset", ["codicodec", "codicodec-mini", "codicodec-tiny"])
def test_a_spec_is_consistent(preset: str) -> None:
    with torch.device("meta"):
        codec = CoDiCodec(CoDiCodecConfig.preset(preset))
    spec = codec.spec
    assert spec.latent_dim * spec.chunk_latents == 4 * spec.chunk_tokens
    if preset == "codicodec":
        assert spec.latent_rate_hz == pytest.approx(11.71875)
        assert spec.token_rate_hz == pytest.approx(187.5)
        assert spec.bitrate_bps == pytest.approx(2594.6, abs=0.1)
        assert spec.codebook_sizes == (14641,)
        # the official 148.5 M less the tensors that nothing reads
        assert sum(p.numel() for p in codec.parameters()) == pytest.approx(147.6e6, rel=0.01)


def test_tokens_to_latents_to_tokens_is_the_identity(tiny_codec: CoDiCodec) -> None:
    """Over the whole codebook, also after the float16 that shards are stored in."""
    every = torch.arange(tiny_codec.spec.codebook_sizes[0])
    every = torch.nn.functional.pad(every, (0, -len(every) % tiny_codec.spec.chunk_tokens))
    tokens = every[None, :, None]
    latents = tiny_codec.tokens_to_latents(tokens)
    assert torch.isfinite(latents).all()
    assert torch.equal(tiny_codec.latents_to_tokens(latents), tokens)
    assert torch.equal(tiny_codec.latents_to_tokens(latents.half().float()), tokens)


def test_the_two_streams_are_images_of_each_other(tiny_codec: CoDiCodec) -> None:
    encoded = tiny_codec.encode(noise(2, 2, 6000), RATE)
    assert torch.equal(tiny_codec.latents_to_tokens(encoded.latents), encoded.tokens)
    assert len(encoded.tokens.unique()) > 10


@pytest.mark.parametrize("max_chunks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("mode", ["parallel", "autoregressive"])
def test_a_bound_on_chunks_changes_nothing(tiny_codec: CoDiCodec, max_chunks: int, mode: str) -> None:
    encoded = tiny_codec.encode(noise(2, 2, 22000), RATE, lengths=torch.tensor([22000, 13001]))
    options = {"latents": encoded.latents, "lengths_samples": encoded.lengths_samples, "steps": 4, "mode": mode}
    whole = tiny_codec.decode(**options, max_chunks=None, generator=seeded())
    bounded = tiny_codec.decode(**options, max_chunks=max_chunks, generator=seeded())
    assert whole.abs().max() > 0.01
    torch.testing.assert_close(bounded, whole, atol=1e-4, rtol=0)
    again = tiny_codec.encode(noise(2, 2, 22000), RATE, lengths=torch.tensor([22000, 13001]), max_chunks=max_chunks)
    torch.testing.assert_close(again.latents, encoded.latents, atol=1e-4, rtol=1e-4)


def test_a_bound_keeps_the_working_set_flat(tiny_codec: CoDiCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the signal, at most max_chunks + steps + 1 chunks are alive and no call sees more than the bound."""
    from latentune.tokenizers.codicodec import decoding

    alive, seen = [], []
    run, denoiser = decoding._Work.run, tiny_codec.denoiser.forward

    def watched(self, step, max_chunks):  # type: ignore[no-untyped-def]
        alive.append(len(self.alive))
        return run(self, step, max_chunks)

    def counted(noisy, *arguments, **options):  # type: ignore[no-untyped-def]
        seen.append(noisy.shape[0] * noisy.shape[1])
        return denoiser(noisy, *arguments, **options)

    monkeypatch.setattr(decoding._Work, "run", watched)
    monkeypatch.setattr(tiny_codec.denoiser, "forward", counted)
    latents = noise(1, 40 * tiny_codec.spec.chunk_latents, tiny_codec.spec.latent_dim)
    tiny_codec.decode(latents=latents, steps=3, max_chunks=4)
    assert max(alive) <= 4 + 3 + 1
    assert max(seen) <= 4


def test_an_item_is_the_same_alone_and_in_a_batch(tiny_codec: CoDiCodec) -> None:
    audio = noise(2, 2, 9000)
    audio[1, :, 5000:] = 0.3  # beyond its length: must not be heard
    lengths = torch.tensor([9000, 5000])
    batch = tiny_codec.encode(audio, RATE, lengths=lengths)
    alone = tiny_codec.encode(audio[1:, :, :5000], RATE)
    frames = alone.latents.shape[1]
    torch.testing.assert_close(batch.latents[1:, :frames], alone.latents, atol=1e-4, rtol=1e-4)
    assert not batch.latents[1, frames:].any()
    decoded = tiny_codec.decode(latents=batch.latents, lengths_samples=lengths, generator=seeded())
    first = tiny_codec.decode(latents=batch.latents[:1], lengths_samples=batch.lengths_samples[:1], generator=seeded())
    torch.testing.assert_close(decoded[:1], first, atol=1e-4, rtol=0)
    assert not decoded[1, :, 5000:].any()


def test_the_same_seed_gives_the_same_audio_and_another_one_not(tiny_codec: CoDiCodec) -> None:
    latents = tiny_codec.encode(noise(1, 2, 9000), RATE).latents
    one, same, other = (tiny_codec.decode(latents=latents, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert (one - other).abs().max() > 1e-3


def test_pairs_shift_from_step_to_step() -> None:
    assert pairing(0, 5) == [(0, 1), (2, 3), (4,)]
    assert pairing(1, 5) == [(0,), (1, 2), (3, 4)]
    assert pairing(1, 4) == [(0,), (1, 2), (3,)]
    assert pairing(0, 1) == pairing(1, 1) == [(0,)]
    for step in (0, 1, 2, 3):
        for count in range(1, 9):
            assert sorted(k for group in pairing(step, count) for k in group) == list(range(count))


def test_the_left_half_cannot_see_the_right_one(tiny_codec: CoDiCodec) -> None:
    c = tiny_codec.settings
    noisy = noise(1, 2, c.spectrum_channels, c.num_bins, c.chunk_frames)
    values = noise(1, 2, c.num_summaries, 4)
    sigma = torch.tensor([[0.5, 2.0]])
    with torch.no_grad():
        both, _ = tiny_codec.denoiser(noisy, values, tiny_codec.upsampler(values[0]), sigma)
        left, past = tiny_codec.denoiser(noisy[:, :1], values[:, :1], tiny_codec.upsampler(values[0, :1]), sigma[:, :1])
        right, _ = tiny_codec.denoiser(
            noisy[:, 1:], values[:, 1:], tiny_codec.upsampler(values[0, 1:]), sigma[:, 1:], past
        )
    torch.testing.assert_close(both[:, :1], left, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[:, 1:], right, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("piece", [1000, 3333, 20000])
def test_a_stream_encodes_as_the_whole(tiny_codec: CoDiCodec, piece: int) -> None:
    audio = noise(2, 2, 15001)
    whole = tiny_codec.encode(audio, RATE)
    stream = tiny_codec.stream_encoder()
    parts = [stream.push(audio[..., i : i + piece]) for i in range(0, audio.shape[-1], piece)]
    parts = [part for part in [*parts, stream.flush()] if part is not None]
    tokens = torch.cat([part.tokens for part in parts], dim=1)
    latents = torch.cat([part.latents for part in parts], dim=1)
    torch.testing.assert_close(latents, whole.latents, atol=1e-4, rtol=1e-4)
    assert tokens.shape == whole.tokens.shape


def test_a_live_decoder_is_the_autoregressive_one(tiny_codec: CoDiCodec) -> None:
    encoded = tiny_codec.encode(noise(2, 2, 15000), RATE)
    whole = tiny_codec.decode(latents=encoded.latents, mode="autoregressive", generator=seeded())
    stream = tiny_codec.stream_decoder(generator=seeded())
    frames = tiny_codec.spec.chunk_latents
    pieces = [stream.push(part) for part in encoded.latents.split(frames, dim=1)]
    live = torch.cat(pieces, dim=-1)
    torch.testing.assert_close(live[..., : whole.shape[-1]], whole, atol=1e-5, rtol=0)
    assert all(piece.shape[-1] == tiny_codec.spec.chunk_samples for piece in pieces[1:])
    by_tokens = tiny_codec.stream_decoder(generator=seeded()).push(encoded.tokens[:, : tiny_codec.spec.chunk_tokens])
    assert by_tokens.shape == pieces[0].shape


def test_save_and_load(tiny_codec: CoDiCodec, tmp_path: Path) -> None:
    tiny_codec.save_pretrained(tmp_path / "codec")
    loaded = load_tokenizer(tmp_path / "codec")
    assert isinstance(loaded, CoDiCodec)
    assert isinstance(loaded, AudioTokenizer)
    assert loaded.fingerprint() == tiny_codec.fingerprint()
    assert not loaded.training
    half = load_tokenizer(tmp_path / "codec", torch_dtype=torch.bfloat16)
    audio = noise(1, 2, 5000)
    difference = half.encode(audio, RATE).latents - tiny_codec.encode(audio, RATE).latents
    assert difference.abs().mean() < 0.1
    decoded = half.decode(latents=half.encode(audio, RATE).latents)
    assert decoded.dtype == torch.float32
    assert torch.isfinite(decoded).all()


def test_truncated_and_foreign_weights_are_refused(tiny_codec: CoDiCodec, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny_codec.save_pretrained(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    save_file({("stranger" if k == name else k): v for k, v in tensors.items()}, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_tokenizer(tmp_path)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot load"):
        load_tokenizer(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError):
        load_tokenizer(tmp_path)


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="codicodec-mini"):
        load_tokenizer("no-such-codec")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not the config of a tokenizer"):
        load_tokenizer(tmp_path)


def test_a_hub_id_without_a_hub_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"SonyCSLParis/codicodec.*hub"):
        load_tokenizer("codicodec")


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(1, 2, 0), "at least 1 sample"),
        (torch.zeros(2, 100), r"\[batch, channels, samples\]"),
        (torch.zeros(1, 2, 100, dtype=torch.int16), "float"),
        (torch.full((1, 2, 100), float("nan")), "NaN"),
        (torch.zeros(1, 6, 100), "6 channels"),
    ],
)
def test_bad_audio(tiny_codec: CoDiCodec, audio: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_codec.encode(audio, RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either latents or tokens"),
        ({"latents": torch.zeros(1, 4, 9)}, r"\[batch, frames, 8\]"),
        ({"latents": torch.zeros(1, 3, 8)}, "whole chunks"),
        ({"latents": torch.full((1, 4, 8), float("inf"))}, "NaN or inf"),
        ({"tokens": torch.full((1, 8, 1), 14641)}, r"0\.\.14640"),
        ({"tokens": torch.full((1, 8, 1), -1)}, r"0\.\.14640"),
        ({"latents": torch.zeros(1, 4, 8), "mode": "guess"}, "mode"),
        ({"latents": torch.zeros(1, 4, 8), "steps": 0}, "at least 1"),
        ({"latents": torch.zeros(1, 4, 8), "lengths_samples": torch.tensor([99999])}, "within"),
    ],
)
def test_bad_streams(tiny_codec: CoDiCodec, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_codec.decode(**options)


def test_bad_types(tiny_codec: CoDiCodec) -> None:
    with pytest.raises(TypeError, match="integers"):
        tiny_codec.decode(tokens=torch.zeros(1, 8, 1))
    with pytest.raises(TypeError, match="no option speed"):
        tiny_codec.decode(latents=torch.zeros(1, 4, 8), speed=2)
    with pytest.raises(ValueError, match="one chunk"):
        tiny_codec.stream_decoder().push(torch.zeros(1, 8, 8))


@pytest.mark.parametrize(
    "fields", [{"channels": 3}, {"window_samples": 1000}, {"head_dim": 100}, {"num_summaries": 7}, {"chunk_frames": 31}]
)
def test_a_config_that_cannot_be_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=r"."):
        CoDiCodecConfig(**fields)


@pytest.mark.parametrize("max_chunks", [0, -1, "all"])
def test_a_bound_must_be_a_number_none_or_auto(tiny_codec: CoDiCodec, max_chunks: int | str) -> None:
    with pytest.raises(ValueError, match="max_chunks"):
        tiny_codec.encode(noise(1, 2, 5000), RATE, max_chunks=max_chunks)
    with pytest.raises(ValueError, match="max_chunks"):
        tiny_codec.decode(latents=torch.zeros(1, 4, 8), max_chunks=max_chunks)
