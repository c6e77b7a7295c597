"""Properties of CoDiCodec beyond the shared contract: bounded memory, pairs, live streams, options of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.codicodec.parallel import pairing
from latentune.tokenizers.load import load_tokenizer

RATE = 48000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    from latentune.tokenizers.codicodec import parallel

    alive, seen = [], []
    run, denoiser = parallel._Work.run, tiny_codec.denoiser.forward

    def watched(self, step, max_chunks):  # type: ignore[no-untyped-def]
        alive.append(len(self.alive))
        return run(self, step, max_chunks)

    def counted(noisy, *arguments, **options):  # type: ignore[no-untyped-def]
        seen.append(noisy.shape[0] * noisy.shape[1])
        return denoiser(noisy, *arguments, **options)

    monkeypatch.setattr(parallel._Work, "run", watched)
    monkeypatch.setattr(tiny_codec.denoiser, "forward", counted)
    latents = noise(1, 40 * tiny_codec.spec.chunk_latents, tiny_codec.spec.latent_dim)
    tiny_codec.decode(latents=latents, steps=3, max_chunks=4)
    assert max(alive) <= 4 + 3 + 1
    assert max(seen) <= 4


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


def test_half_precision_changes_little(tiny_codec: CoDiCodec, tmp_path: Path) -> None:
    tiny_codec.save_pretrained(tmp_path)
    half, audio = load_tokenizer(tmp_path, torch_dtype=torch.bfloat16), noise(1, 2, 5000)
    difference = half.encode(audio, RATE).latents - tiny_codec.encode(audio, RATE).latents
    assert difference.abs().mean() < 0.1


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


def test_channels_that_would_have_to_be_guessed(tiny_codec: CoDiCodec) -> None:
    with pytest.raises(ValueError, match="6 channels"):
        tiny_codec.encode(torch.zeros(1, 6, 100), RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latents": torch.zeros(1, 3, 8)}, "whole chunks"),
        ({"latents": torch.zeros(1, 4, 8), "mode": "guess"}, "mode"),
        ({"latents": torch.zeros(1, 4, 8), "steps": 0}, "at least 1"),
        ({"latents": torch.zeros(1, 4, 8), "mode": "autoregressive", "time_prompt": 1.5}, r"must lie in 0\.\.1"),
        ({"latents": torch.zeros(1, 4, 8), "time_prompt": 0.4}, "of the mode autoregressive"),
    ],
)
def test_bad_options(tiny_codec: CoDiCodec, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_codec.decode(**options)


def test_a_previous_chunk_that_is_noisier_changes_the_next_one_alone(tiny_codec: CoDiCodec) -> None:
    latents = noise(1, 2 * tiny_codec.spec.chunk_latents, tiny_codec.spec.latent_dim)
    options = {"latents": latents, "mode": "autoregressive", "steps": 1}
    default, same, clean = (
        tiny_codec.decode(**options, generator=seeded(), **more)
        for more in ({}, {"time_prompt": 0.4}, {"time_prompt": 0.0})
    )
    first = tiny_codec.spec.chunk_samples - 2 * tiny_codec.settings.stft_hop_samples
    assert torch.equal(default, same)
    assert torch.equal(default[..., :first], clean[..., :first])
    assert not torch.allclose(default[..., first:], clean[..., first:])
    live = tiny_codec.stream_decoder(generator=seeded(), steps=1, time_prompt=0.0)
    pushed = torch.cat([live.push(chunk) for chunk in latents.chunk(2, dim=1)], -1)
    torch.testing.assert_close(pushed[..., : clean.shape[-1]], clean, atol=1e-5, rtol=0)


def test_a_live_decoder_takes_one_chunk_at_a_time(tiny_codec: CoDiCodec) -> None:
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
