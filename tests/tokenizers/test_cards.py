"""The table of tokenizers is true: its sizes, rates and licences are those of the networks and weights."""

from typing import Any

import pytest
import torch

from latentune.core.config import build_config
from latentune.core.settings import load_settings
from latentune.tokenizers.cards import OFFICIAL_CARDS, SHIPPED_CARDS, TokenizerCard
from latentune.tokenizers.load import load_tokenizer, tokenizer_class

# official name -> config of the same size
OFFICIAL_CONFIGS = {
    "codicodec": "tokenizers/codicodec",
    "stable-codec-speech-16k": "tokenizers/taae-base",
    "stable-codec-speech-16k-base": "tokenizers/taae-base",
    "neucodec": "tokenizers/neucodec",
    "distill-neucodec": "tokenizers/neucodec-distill",
}


def check(card: TokenizerCard, codec: Any) -> None:
    spec = codec.spec
    assert type(codec).__name__ == card.class_name
    assert card.parameters_m == pytest.approx(sum(p.numel() for p in codec.parameters()) / 1e6, abs=0.05)
    assert card.audio == f"{spec.sample_rate / 1000:g} kHz {'mono' if spec.channels == 1 else 'stereo'}"
    assert card.latents == f"{spec.latent_dim} at {spec.latent_rate_hz:.3g} Hz"
    sizes = " and ".join(map(str, spec.codebook_sizes))
    assert card.tokens == f"{spec.token_rate_hz:g} Hz of {sizes}, {spec.bitrate_bps:.0f} bit/s"


@pytest.mark.parametrize("name", SHIPPED_CARDS)
def test_the_card_of_a_shipped_tokenizer_is_true(name: str) -> None:
    codec = load_tokenizer(name)
    check(SHIPPED_CARDS[name], codec)
    assert codec.licence.startswith(SHIPPED_CARDS[name].licence)


@pytest.mark.parametrize("name", OFFICIAL_CARDS)
def test_the_card_of_an_official_tokenizer_is_true(name: str) -> None:
    values = load_settings(OFFICIAL_CONFIGS[name])
    cls = tokenizer_class(values["class_name"])
    with torch.device("meta"):
        codec = cls(build_config(cls.config_class, values["config"]))
    check(OFFICIAL_CARDS[name], codec)
