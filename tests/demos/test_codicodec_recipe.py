"""The scripts of CoDiCodec's recipe: a gain in the weights, and a codec without its consistency network."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentune.demos.recipes.codicodec import without_network
from latentune.demos.recipes.set_level import amplify
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.load import load_tokenizer

CONFIG = replace(CoDiCodecConfig.tiny(), envelope_bands=16)


def make(config: CoDiCodecConfig = CONFIG) -> CoDiCodec:
    """A codec whose network changes what it decodes."""
    torch.manual_seed(0)
    codec = CoDiCodec(config).eval()
    torch.nn.init.normal_(codec.denoiser.depatchifier.conv_out.weight, std=0.1)
    return codec


@torch.no_grad()
def decoded(codec: CoDiCodec) -> torch.Tensor:
    latents = torch.randn(1, 8, codec.spec.latent_dim, generator=torch.Generator().manual_seed(1))
    return codec.decode(latents=latents, steps=1, generator=torch.Generator().manual_seed(2))


def test_a_gain_in_the_weights_is_a_gain_of_the_audio() -> None:
    codec = make()
    codec.denoiser.deviation.linear.bias.data -= 2.0  # quiet, so that nothing is clipped
    before = decoded(codec)
    amplify(codec, 6.0)
    gain_db = 20 * (decoded(codec).std() / before.std()).log10()
    assert float(gain_db) == pytest.approx(6.0, abs=0.1)


def test_a_codec_without_a_place_for_a_gain_is_refused() -> None:
    with pytest.raises(TypeError, match="no parameter for its level"):
        amplify(make(CoDiCodecConfig.tiny()), 1.0)


def test_without_the_network_the_audio_is_shaped_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = make()
    codec.save_pretrained(tmp_path / "codec")
    monkeypatch.setattr(sys, "argv", ["without_network", str(tmp_path / "codec"), str(tmp_path / "off")])
    without_network.main()
    off = load_tokenizer(tmp_path / "off")
    assert (decoded(off) - decoded(codec)).abs().max() > 1e-3
    for parameter in off.denoiser.transformer.parameters():
        torch.nn.init.normal_(parameter)
    torch.testing.assert_close(decoded(off), decoded(load_tokenizer(tmp_path / "off")))


def test_a_codec_that_is_nothing_without_its_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(CoDiCodecConfig.tiny()).save_pretrained(tmp_path)
    monkeypatch.setattr(sys, "argv", ["without_network", str(tmp_path), str(tmp_path / "off")])
    with pytest.raises(SystemExit):
        without_network.main()
    assert "envelope_bands is 0" in capsys.readouterr().err
