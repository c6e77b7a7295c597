"""Properties of TAAE as a tokenizer: lengths, both streams, batches, kinds of tokens, saving, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.load import OFFICIAL, load_official, load_tokenizer, tokenizer_class
from latentune.tokenizers.parts.errors import CheckpointError
from latentune.tokenizers.taae import TAAE, TAAEConfig
from latentune.tokenizers.taae.bottleneck import BottleneckConfig

RATE = 16000
PRESETS = ["native", "1x46656_400bps", "2x15625_700bps", "4x729_1000bps"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def own(tiny_taae: TAAE) -> TAAE:
    """A codec with the weights of `tiny_taae` that a test may change."""
    codec = TAAE(tiny_taae.settings)
    codec.load_state_dict(tiny_taae.state_dict())
    return codec.eval()


@pytest.mark.parametrize("num_samples", [1, 19, 39, 40, 41, 639, 5001])
@pytest.mark.parametrize("channels", [1, 2])
def test_output_is_exactly_as_long_as_the_input(tiny_taae: TAAE, num_samples: int, channels: int) -> None:
    encoded = tiny_taae.encode(noise(1, channels, num_samples), RATE)
    assert encoded.latents.shape[1] == tiny_taae.spec.num_latents(num_samples)
    assert encoded.tokens.shape[1:] == (tiny_taae.spec.num_tokens(num_samples), 1)
    for stream in ("latents", "tokens"):
        audio = tiny_taae.decode_encoded(encoded, stream)
        assert audio.shape == (1, 1, num_samples)
        assert torch.isfinite(audio).all()


def test_the_released_size_has_the_released_rates() -> None:
    with torch.device("meta"):
        codec = TAAE(TAAEConfig())
    assert codec.spec.latent_rate_hz == 25
    assert codec.spec.hop_samples == 640
    assert codec.spec.codebook_sizes == (17**6,)
    with torch.device("meta"):
        slow = TAAE(TAAEConfig.preset("taae-12hz"))
    assert slow.spec.latent_rate_hz == 12.5
    assert slow.spec.latent_dim == 8


@pytest.mark.parametrize("preset", PRESETS)
def test_the_two_streams_are_images_of_each_other(own: TAAE, preset: str) -> None:
    encoded = own.use_preset(preset).encode(noise(2, 1, 6000), RATE)
    assert encoded.tokens.shape[-1] == own.spec.tokens_per_frame
    assert len(encoded.tokens.unique()) > 10
    assert (encoded.tokens < torch.tensor(own.spec.codebook_sizes)).all()
    assert torch.equal(own.latents_to_tokens(encoded.latents), encoded.tokens)
    again = own.latents_to_tokens(own.tokens_to_latents(encoded.tokens))
    torch.testing.assert_close(own.tokens_to_values(again), own.tokens_to_values(encoded.tokens), atol=1e-6, rtol=0)


def test_tokens_to_latents_to_tokens_is_the_identity(tiny_taae: TAAE) -> None:
    """Also of the outermost levels, and after the float16 that shards are stored in."""
    ends = torch.tensor([0, 17**6 - 1])
    inside = torch.randint(17**6, (5000,), generator=torch.Generator().manual_seed(0))
    tokens = torch.cat([ends, inside])[None, :, None]
    latents = tiny_taae.tokens_to_latents(tokens)
    assert torch.isfinite(latents).all()
    assert torch.equal(tiny_taae.latents_to_tokens(latents), tokens)
    assert torch.equal(tiny_taae.latents_to_tokens(latents.half().float()), tokens)


def test_presets_that_spell_the_same_grid_decode_to_the_same_audio(own: TAAE) -> None:
    audio = noise(1, 1, 4000)
    decoded = {name: own.use_preset(name).decode_encoded(own.encode(audio, RATE), "tokens") for name in PRESETS}
    for name in ("2x15625_700bps", "4x729_1000bps"):
        torch.testing.assert_close(decoded[name], decoded["native"], atol=1e-5, rtol=0)
    assert (decoded["1x46656_400bps"] - decoded["native"]).abs().max() > 1e-3


def test_a_preset_changes_tokens_and_fingerprint_but_no_latents(own: TAAE, tmp_path: Path) -> None:
    before, fingerprint = own.encode(noise(1, 1, 4000), RATE), own.fingerprint()
    assert own.spec.bitrate_bps == pytest.approx(400 * 6 * math.log2(17))
    own.use_preset("2x15625_700bps")
    after = own.encode(noise(1, 1, 4000), RATE)
    assert torch.equal(after.latents, before.latents)
    assert after.tokens.shape[-1] == 2
    assert own.fingerprint() != fingerprint
    own.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.spec == own.spec
    assert torch.equal(loaded.encode(noise(1, 1, 4000), RATE).tokens, after.tokens)
    assert own.use_preset("native").fingerprint() == fingerprint


def test_a_preset_that_cannot_be_says_which_can(own: TAAE) -> None:
    with pytest.raises(ValueError, match="2x15625_700bps"):
        own.use_preset("3x1")
    with pytest.raises(ValueError, match="6 dimensions"):
        own.use_bottleneck(BottleneckConfig(levels=(17,) * 5))
    assert own.spec.codebook_sizes == (17**6,)


def test_a_codec_without_a_quantiser_has_latents_alone(tiny_taae: TAAE) -> None:
    codec = TAAE(replace(tiny_taae.settings, bottleneck=BottleneckConfig(kind="none"))).eval()
    encoded = codec.encode(noise(1, 1, 4000), RATE)
    assert encoded.tokens.shape == (1, 100, 0)
    assert codec.spec.bitrate_bps == 0
    assert codec.decode_encoded(encoded).shape == (1, 1, 4000)
    with pytest.raises(ValueError, match="no tokens"):
        codec.decode_encoded(encoded, "tokens")


def test_an_item_is_the_same_alone_and_in_a_batch(tiny_taae: TAAE) -> None:
    audio = noise(3, 1, 9000)
    audio[1, :, 5003:] = 0.3  # beyond its length: must not be heard
    lengths = torch.tensor([9000, 5003, 1])
    batch = tiny_taae.encode(audio, RATE, lengths=lengths)
    decoded = tiny_taae.decode_encoded(batch)
    for item, length in enumerate(lengths.tolist()):
        alone = tiny_taae.encode(audio[item : item + 1, :, :length], RATE)
        frames = alone.latents.shape[1]
        torch.testing.assert_close(batch.latents[item : item + 1, :frames], alone.latents, atol=1e-5, rtol=1e-5)
        assert not batch.latents[item, frames:].any()
        assert batch.gain_db[item] == alone.gain_db[0]
        torch.testing.assert_close(
            decoded[item : item + 1, :, :length], tiny_taae.decode_encoded(alone), atol=1e-5, rtol=0
        )
        assert not decoded[item, :, length:].any()


def test_save_and_load(tiny_taae: TAAE, tmp_path: Path) -> None:
    tiny_taae.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, TAAE)
    assert loaded.fingerprint() == tiny_taae.fingerprint()
    half = load_tokenizer(tmp_path, torch_dtype=torch.bfloat16)
    encoded = half.encode(noise(1, 1, 5000), RATE)
    assert encoded.latents.dtype == torch.float32
    decoded = half.decode_encoded(encoded)
    assert decoded.dtype == torch.float32
    assert torch.isfinite(decoded).all()


def test_a_hub_id_without_a_hub_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "stable-codec-speech-16k-base"
    hub_id = OFFICIAL[name][1]
    with pytest.raises(CheckpointError, match=f"{hub_id}.*hub"):
        load_tokenizer(name)
    with pytest.raises(CheckpointError, match=f"{hub_id}.*hub"):
        load_official(hub_id)


def test_official_weights_of_an_unknown_codec_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"codicodec\.pt or model_config\.json"):
        load_official(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'TAAE'"):
        load_official(tmp_path, "TAEE")


@pytest.mark.parametrize(("file", "family"), [("codicodec.pt", "CoDiCodec"), ("model_config.json", "TAAE")])
def test_official_weights_are_known_by_their_files(
    file: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_text("")
    monkeypatch.setattr(tokenizer_class(family), "from_official", lambda path, **options: (path, options))
    assert load_official(tmp_path, revision="x") == (tmp_path, {"revision": "x"})
    assert load_official(tmp_path / file) == (tmp_path / file, {})
    (tmp_path / "renamed").mkdir()
    assert load_official(tmp_path / "renamed", family) == (tmp_path / "renamed", {})


def test_the_training_pass_is_encode_and_decode(tiny_taae: TAAE) -> None:
    audio = noise(2, 1, 4000)
    mode, levels = torch.tensor([2, 0]), torch.full((6,), 17)
    with torch.no_grad():
        made, z = tiny_taae(audio, mode, torch.zeros(2, 100, 6), levels)
    encoded = tiny_taae.encode(audio, RATE, loudness_lufs=None)
    torch.testing.assert_close(tiny_taae.z_to_latents(z), encoded.latents)
    torch.testing.assert_close(made[:1].clamp(-1, 1), tiny_taae.decode_encoded(encoded)[:1], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        made[1:].clamp(-1, 1), tiny_taae.decode_encoded(encoded, "tokens")[1:], atol=1e-5, rtol=0
    )


def test_training_reaches_every_weight(own: TAAE) -> None:
    mode, levels = torch.tensor([0, 1]), torch.full((6,), 9)
    made, _ = own(noise(2, 1, 1600), mode, torch.rand(2, 40, 6) - 0.5, levels)
    made.square().mean().backward()
    lost = [name for name, p in own.named_parameters() if p.grad is None or not p.grad.any()]
    assert not lost


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(1, 1, 0), "at least 1 sample"),
        (torch.zeros(2, 100), r"\[batch, channels, samples\]"),
        (torch.zeros(1, 1, 100, dtype=torch.int16), "float"),
        (torch.full((1, 1, 100), float("nan")), "NaN"),
    ],
)
def test_bad_audio(tiny_taae: TAAE, audio: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_taae.encode(audio, RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either latents or tokens"),
        ({"latents": torch.zeros(1, 4, 6), "tokens": torch.zeros(1, 4, 1)}, "either latents or tokens"),
        ({"latents": torch.zeros(1, 4, 9)}, r"\[batch, frames, 6\]"),
        ({"latents": torch.full((1, 4, 6), float("inf"))}, "NaN or inf"),
        ({"tokens": torch.zeros(1, 4, 2, dtype=torch.int64)}, r"tokens must be \[batch, frames, 1\]"),
        ({"tokens": torch.full((1, 8, 1), 17**6)}, r"0\.\.24137568"),
        ({"tokens": torch.full((1, 8, 1), -1)}, r"0\.\.24137568"),
        ({"latents": torch.zeros(1, 4, 6), "lengths_samples": torch.tensor([161])}, r"within 1\.\.160 for 4 frames"),
        ({"latents": torch.zeros(1, 4, 6), "gain_db": torch.zeros(2)}, r"gain_db must be \[1\]"),
        ({"latents": torch.zeros(1, 4, 6), "max_frames": 0}, "max_frames must be at least 1"),
        ({"latents": torch.zeros(1, 4, 6), "chunk_frames": 8, "overlap_frames": 9}, "overlap_frames must be even"),
    ],
)
def test_bad_streams(tiny_taae: TAAE, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_taae.decode(**options)


def test_bad_options(tiny_taae: TAAE) -> None:
    with pytest.raises(TypeError, match="integers"):
        tiny_taae.decode(tokens=torch.zeros(1, 8, 1))
    with pytest.raises(TypeError, match=r"TAAE\.decode has no option max_frame: did you mean 'max_frames'"):
        tiny_taae.decode(latents=torch.zeros(1, 4, 6), max_frame=2)
    with pytest.raises(ValueError, match="stream must be"):
        tiny_taae.decode_encoded(tiny_taae.encode(noise(1, 1, 100), RATE), "codes")  # type: ignore[arg-type]
