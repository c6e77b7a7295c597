"""The codecs that ship load, are small enough, and are better than nothing on real audio."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch

import latentune
from latentune.layers.audio import to_channels, to_rate
from latentune.pipelines.data.audio.read import read_audio
from latentune.pipelines.measure.codecs.figures.distances import mel_distance
from latentune.tokenizers.cards import SHIPPED_CARDS

FIXTURES = Path(__file__).resolve().parents[2] / "demos/fixtures"


def test_shipped_weights_are_small_and_have_a_card() -> None:
    for card in SHIPPED_CARDS.values():
        path = Path(str(files("latentune") / card.place))
        assert (path / "README.md").read_text()
        assert sum(f.stat().st_size for f in path.iterdir()) < 20 * 2**20


def test_all_shipped_weights_together_are_small() -> None:
    """Those of tokenizers, generators and embedders."""
    root = Path(str(files("latentune")))
    weights = [path for room in ("tokenizers", "pipelines") for path in (root / room).rglob("weights/**/*.safetensors")]
    assert len(weights) >= len(SHIPPED_CARDS)
    assert sum(path.stat().st_size for path in weights) <= 80_000_000


@pytest.mark.parametrize("name", SHIPPED_CARDS)
def test_a_shipped_codec_beats_silence_and_random_weights(name: str) -> None:
    codec = latentune.load_tokenizer(name)
    assert next(codec.parameters()).dtype == torch.float32
    torch.manual_seed(0)
    untrained = type(codec)(codec.settings).eval()
    audio, rate = read_audio(FIXTURES / "austen_0930.wav")
    audio = to_rate(to_channels(audio, 1), rate, codec.spec.sample_rate)
    options = {"steps": 3, "generator": torch.Generator().manual_seed(0)} if name == "codicodec-mini" else {}

    def distance(model: torch.nn.Module) -> float:
        encoded = model.encode(audio[None], codec.spec.sample_rate)
        decoded = model.decode(tokens=encoded.tokens, lengths_samples=encoded.lengths_samples, **options)
        return float(mel_distance(audio, decoded[0], codec.spec.sample_rate).mean())

    trained = distance(codec)
    silence = float(mel_distance(audio, torch.zeros_like(audio), codec.spec.sample_rate).mean())
    assert trained < 0.7 * distance(untrained)
    assert trained < 0.7 * silence
