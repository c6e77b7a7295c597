"""Properties of TAAE beyond the shared contract: sizes, kinds of tokens, training, options of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.load import load_tokenizer
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
    ("options", "message"),
    [
        ({"lengths_samples": torch.tensor([161])}, r"within 1\.\.160 for 4 frames"),
        ({"max_frames": 0}, "max_frames must be at least 1"),
        ({"chunk_frames": 8, "overlap_frames": 9}, "overlap_frames must be even"),
    ],
)
def test_bad_options(tiny_taae: TAAE, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_taae.decode(latents=torch.zeros(1, 4, 6), **options)
    with pytest.raises(TypeError, match=r"TAAE\.decode has no option max_frame: did you mean 'max_frames'"):
        tiny_taae.decode(latents=torch.zeros(1, 4, 6), max_frame=2)
