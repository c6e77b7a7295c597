"""The contract of every `AudioTokenizer`, on the smallest model of each family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.layers.bits import pack_tokens, packed_bytes, unpack_tokens
from latentune.tokenizers.base import STREAMS, AudioTokenizer, Encoded
from latentune.tokenizers.load import load_tokenizer

# sums of float32 in another order, on any machine
FLOAT32 = {"atol": 5e-5, "rtol": 1e-5}


@dataclass(frozen=True)
class Case:
    """A family, and what differs between families within the contract."""

    fixture: str
    draws_noise: bool = False  # in decoding, for each item of a batch another


CASES = [
    Case("tiny_codec", draws_noise=True),
    Case("tiny_taae"),
    Case("tiny_neucodec"),
    Case("tiny_distill_neucodec"),
    Case("tiny_melcodec"),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.fixture)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def codec(case: Case, request: pytest.FixtureRequest) -> AudioTokenizer:
    return request.getfixturevalue(case.fixture)


def sound(codec: AudioTokenizer, *shape: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seconds(codec: AudioTokenizer, duration_s: float) -> int:
    return round(duration_s * codec.spec.sample_rate)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def decoded(codec: AudioTokenizer, encoded: Encoded, stream: Any = "latents") -> Tensor:
    return codec.decode_encoded(encoded, stream, generator=seeded())


LENGTHS = [1, 2, 19, 127, 479, 481, 639, 2048, 2049, 4801, 9999]
EDGES = [(1, -1), (1, 0), (1, 1), (3, 0)]  # (chunks, samples more than they hold)


@pytest.mark.parametrize("length", [*LENGTHS, *EDGES])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_comes_back_is_as_long_as_what_went_in(
    codec: AudioTokenizer, length: int | tuple[int, int], channels: int
) -> None:
    spec = codec.spec
    num_samples = length if isinstance(length, int) else spec.max_samples(length[0]) + length[1]
    encoded = codec.encode(sound(codec, 1, channels, num_samples), spec.sample_rate)
    assert encoded.lengths_samples.tolist() == [num_samples]
    assert encoded.latents.shape == (1, spec.num_latents(num_samples), spec.latent_dim)
    assert encoded.tokens.shape == (1, spec.num_tokens(num_samples), spec.tokens_per_frame)
    assert torch.isfinite(encoded.latents).all()
    for stream in STREAMS:
        audio = decoded(codec, encoded, stream)
        assert audio.shape == (1, spec.channels, num_samples)
        assert torch.isfinite(audio).all()
        assert audio.abs().max() <= 1


@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 24000, 44100, 48000, 96000])
def test_every_rate_is_taken(codec: AudioTokenizer, sample_rate: int) -> None:
    encoded = codec.encode(sound(codec, 1, 1, 1001), sample_rate)
    length = codec.spec.resampled_length(1001, sample_rate)
    assert encoded.lengths_samples.tolist() == [length]
    assert decoded(codec, encoded).shape[-1] == length


def test_mono_and_stereo_are_taken(codec: AudioTokenizer) -> None:
    rate, mono = codec.spec.sample_rate, sound(codec, 1, 1, 3000)
    expected = codec.encode(mono, rate)
    got = codec.encode(mono.expand(1, 2, -1), rate)
    assert torch.equal(got.tokens, expected.tokens)


def test_what_lies_beyond_an_item_is_not_heard(codec: AudioTokenizer) -> None:
    rate, audio = codec.spec.sample_rate, sound(codec, 1, 1, 5000)
    loud = torch.cat((audio, torch.ones(1, 1, 700)), dim=-1)
    got = codec.encode(loud, rate, lengths=torch.tensor([5000]))
    expected = codec.encode(audio, rate)
    assert torch.equal(got.tokens, expected.tokens)
    assert torch.equal(got.lengths_samples, expected.lengths_samples)


@pytest.mark.parametrize("sample_rate", [None, 44100])
def test_an_item_is_the_same_alone_and_in_a_batch(codec: AudioTokenizer, case: Case, sample_rate: int | None) -> None:
    rate = sample_rate or codec.spec.sample_rate
    lengths = torch.tensor([9000, 4321, 9000, 1])
    audio = sound(codec, 4, 1, 9000)
    batch = codec.encode(audio, rate, lengths=lengths)
    together = decoded(codec, batch)
    for item, length in enumerate(lengths.tolist()):
        alone = codec.encode(audio[item : item + 1, :, :length], rate)
        tokens, latents = alone.tokens[0], alone.latents[0]
        assert torch.equal(batch.tokens[item, : len(tokens)], tokens)
        torch.testing.assert_close(batch.latents[item, : len(latents)], latents, **FLOAT32)
        assert not batch.latents[item, len(latents) :].any()
        assert batch.lengths_samples[item] == alone.lengths_samples[0]
        assert batch.gain_db is None or batch.gain_db[item] == alone.gain_db[0]
        if item == 0 or not case.draws_noise:
            expected = decoded(codec, alone)[0]
            torch.testing.assert_close(together[item, :, : expected.shape[-1]], expected, **FLOAT32)


def test_a_decoded_item_ends_where_it_ends(codec: AudioTokenizer) -> None:
    lengths = torch.tensor([9000, 4321])
    batch = codec.encode(sound(codec, 2, 1, 9000), codec.spec.sample_rate, lengths=lengths)
    audio = decoded(codec, batch)
    assert audio.shape[-1] == 9000
    assert audio[0, :, -1].any()
    assert not audio[1, :, 4321:].any()


def test_the_two_streams_are_images_of_each_other(codec: AudioTokenizer) -> None:
    encoded = codec.encode(sound(codec, 2, 1, seconds(codec, 0.6)), codec.spec.sample_rate)
    assert len(encoded.tokens.unique()) > 10
    assert torch.equal(codec.latents_to_tokens(encoded.latents), encoded.tokens)
    for size, tokens in zip(codec.spec.codebook_sizes, encoded.tokens.unbind(-1), strict=True):
        assert 0 <= int(tokens.min()) <= int(tokens.max()) < size


def test_tokens_to_latents_to_tokens_is_the_identity(codec: AudioTokenizer) -> None:
    """Over the whole codebook, or 5000 tokens of a large one and its ends; also after the float16 of shards."""
    spec, generator = codec.spec, seeded()
    columns = []
    for size in spec.codebook_sizes:
        some = torch.cat([torch.tensor([0, size - 1]), torch.randint(size, (5000,), generator=generator)])
        columns.append(torch.arange(size) if size <= 2**16 else some)
    longest = max(map(len, columns))
    frames = longest + -longest % spec.chunk_tokens
    tokens = torch.stack([column[torch.arange(frames) % len(column)] for column in columns], -1)[None]
    latents = codec.tokens_to_latents(tokens)
    assert latents.shape == (1, frames // spec.chunk_tokens * spec.chunk_latents, spec.latent_dim)
    assert torch.isfinite(latents).all()
    assert torch.equal(codec.latents_to_tokens(latents), tokens)
    assert torch.equal(codec.latents_to_tokens(latents.half()), tokens)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_tokens_of_any_integer_type_are_taken(codec: AudioTokenizer, dtype: torch.dtype) -> None:
    spec = codec.spec
    tokens = torch.randint(255, (1, spec.chunk_tokens, spec.tokens_per_frame), generator=seeded())
    assert torch.equal(codec.tokens_to_latents(tokens.to(dtype)), codec.tokens_to_latents(tokens))


def test_tokens_pack_to_the_bits_that_the_spec_says(codec: AudioTokenizer) -> None:
    spec = codec.spec
    tokens = codec.encode(sound(codec, 1, 1, seconds(codec, 0.5)), spec.sample_rate).tokens[0]
    data = pack_tokens(tokens, spec.codebook_sizes)
    assert len(data) == packed_bytes(len(tokens), spec.codebook_sizes)
    assert len(data) * 8 / (len(tokens) / spec.token_rate_hz) == pytest.approx(spec.packed_bitrate_bps, abs=16)
    assert torch.equal(unpack_tokens(data, spec.codebook_sizes, len(tokens)), tokens)
    with pytest.raises(ValueError, match="bytes, got"):
        unpack_tokens(data[:-1], spec.codebook_sizes, len(tokens))


def test_a_saved_codec_is_the_same_codec(codec: AudioTokenizer, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    (tmp_path / "any").touch()
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1  # who may read it, may read all
    again = load_tokenizer(tmp_path)
    assert type(again) is type(codec)
    assert not again.training
    assert again.spec == codec.spec
    assert again.settings == codec.settings
    assert again.fingerprint() == codec.fingerprint()
    audio = sound(codec, 1, 1, 3000)
    assert torch.equal(again.encode(audio, 16000).tokens, codec.encode(audio, 16000).tokens)


def test_half_precision_gives_float32_streams_and_audio(codec: AudioTokenizer, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    half = load_tokenizer(tmp_path, torch_dtype=torch.bfloat16)
    encoded = half.encode(sound(codec, 1, 1, 5000), codec.spec.sample_rate)
    assert encoded.latents.dtype == torch.float32
    audio = decoded(half, encoded)
    assert audio.dtype == torch.float32
    assert torch.isfinite(audio).all()


def test_a_fingerprint_tells_weights_apart(codec: AudioTokenizer) -> None:
    other = type(codec)(codec.settings)
    other.load_state_dict(codec.state_dict())
    assert other.fingerprint() == codec.fingerprint()
    with torch.no_grad():
        next(other.decoder.parameters() if hasattr(other, "decoder") else other.parameters()).add_(1e-3)
    assert other.fingerprint() != codec.fingerprint()


def test_live_encoding_gives_all_of_a_stream_and_starts_anew(codec: AudioTokenizer) -> None:
    audio = sound(codec, 1, codec.spec.channels, seconds(codec, 0.35))
    state, results = codec.stream_encoder(), []
    for _ in range(2):
        parts = [state.push(piece) for piece in audio.split(997, dim=-1)] + [state.flush()]
        kept = [part for part in parts if part is not None]
        results.append(torch.cat([part.tokens for part in kept], dim=1))
        assert results[-1].shape[1] >= codec.spec.num_tokens(audio.shape[-1])
    assert torch.equal(results[0], results[1])
    assert state.flush() is None


def test_live_decoding_gives_all_of_a_stream_and_starts_anew(codec: AudioTokenizer, case: Case) -> None:
    spec = codec.spec
    latents = codec.encode(sound(codec, 1, 1, seconds(codec, 0.35)), spec.sample_rate).latents
    results = []
    for _ in range(2):
        state = codec.stream_decoder(generator=seeded()) if case.draws_noise else codec.stream_decoder()
        parts = [state.push(piece) for piece in latents.split(spec.chunk_latents, dim=1)] + [state.flush()]
        results.append(torch.cat([part for part in parts if part is not None], dim=-1))
    assert results[0].shape[-1] >= latents.shape[1] * spec.hop_samples - spec.chunk_samples
    assert torch.equal(results[0], results[1])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(1, 1, 0), "at least 1 sample"),
        (torch.zeros(2, 100), r"\[batch, channels, samples\]"),
        (torch.zeros(1, 1, 100, dtype=torch.int16), "float"),
        (torch.full((1, 1, 100), float("nan")), "NaN"),
    ],
)
def test_audio_that_cannot_be_encoded(codec: AudioTokenizer, audio: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.encode(audio, codec.spec.sample_rate)


def test_lengths_and_rates_that_cannot_be(codec: AudioTokenizer) -> None:
    audio = torch.zeros(2, 1, 100)
    for lengths in (torch.tensor([100]), torch.tensor([0, 100]), torch.tensor([101, 5])):
        with pytest.raises(ValueError, match=r"within 1\.\.100"):
            codec.encode(audio, codec.spec.sample_rate, lengths=lengths)
    with pytest.raises(ValueError, match="positive"):
        codec.encode(audio, 0)


def test_streams_that_cannot_be_decoded(codec: AudioTokenizer) -> None:
    spec = codec.spec
    latents = torch.zeros(1, spec.chunk_latents, spec.latent_dim)
    tokens = torch.zeros(1, spec.chunk_tokens, spec.tokens_per_frame, dtype=torch.int64)
    size = spec.codebook_sizes[0]
    for streams, message in (
        ({}, "either latents or tokens"),
        ({"latents": latents, "tokens": tokens}, "either latents or tokens"),
        ({"latents": latents[0]}, r"latents must be \[batch, frames"),
        ({"latents": latents[..., 1:]}, "of another tokenizer"),
        ({"latents": latents * float("nan")}, "NaN or inf"),
        ({"latents": latents + float("inf")}, "NaN or inf"),
        ({"latents": latents, "gain_db": torch.zeros(2)}, r"gain_db must be \[1\]"),
        ({"latents": latents, "lengths_samples": torch.tensor([spec.max_samples(1) + 1])}, r"within 1\.\."),
        ({"tokens": tokens[0]}, r"tokens must be \[batch, frames"),
        ({"tokens": tokens.repeat(1, 1, 2)}, "of another tokenizer"),
        ({"tokens": tokens[:, :0]}, "tokens must be"),
        ({"tokens": tokens + size}, f"0..{size - 1}"),
        ({"tokens": tokens - 1}, f"0..{size - 1}"),
        ({"latents": latents, "lengths_samples": torch.tensor([10**6])}, "lengths_samples must be"),
    ):
        with pytest.raises(ValueError, match=message):
            codec.decode(**streams)
    with pytest.raises(TypeError, match="integers"):
        codec.decode(tokens=tokens.float())


@pytest.mark.parametrize("method", ["encode", "decode", "stream_encoder", "stream_decoder"])
def test_an_unknown_option_is_named(codec: AudioTokenizer, method: str) -> None:
    arguments: dict[str, Any] = {
        "encode": {"audio": torch.zeros(1, 1, 100), "sample_rate": 16000},
        "decode": {"latents": torch.zeros(1, codec.spec.chunk_latents, codec.spec.latent_dim)},
    }.get(method, {})
    with pytest.raises(TypeError, match=rf"{method} has no option loudnes"):
        getattr(codec, method)(**arguments, loudnes=1)


def test_a_stream_that_does_not_exist(codec: AudioTokenizer) -> None:
    with pytest.raises(ValueError, match="'latents' or 'tokens'"):
        codec.decode_encoded(codec.encode(torch.zeros(1, 1, 100), 16000), "codes")  # type: ignore[arg-type]
