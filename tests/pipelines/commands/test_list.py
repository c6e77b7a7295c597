"""`latentune list`, and the cards it is made of."""

import json
from pathlib import Path

import pytest
from command_line import call, fails
from hub_cache import make_cache

from latentune.core.settings import shipped_configs
from latentune.pipelines.data.cards import PIPELINE_CARDS
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.measure.embedders.cards import EMBEDDERS
from latentune.tokenizers.cards import OFFICIAL_CARDS, SHIPPED_CARDS
from latentune.tokenizers.load import load_tokenizer


def test_list_shows_everything_that_has_a_name() -> None:
    facts = json.loads(call("list", "--json").stdout)
    assert set(facts) == {"tokenizers", "pipelines", "configs", "embedders"}
    names = {kind: {row["name"] for row in rows} for kind, rows in facts.items()}
    assert names["tokenizers"] == {*SHIPPED_CARDS, *OFFICIAL_CARDS}
    assert names["pipelines"] == set(PIPELINE_CARDS)
    assert names["configs"] == set(shipped_configs())
    assert names["embedders"] == set(EMBEDDERS)
    assert all(row["contents"] for row in facts["configs"]), "each config begins with a comment"
    for kind in ("tokenizers", "pipelines", "embedders"):
        assert all(row["licence"] and row["size"] and row["available"] for row in facts[kind])
    assert set(json.loads(call("list", "pipelines", "--json").stdout)) == {"pipelines"}
    assert "allowed: 'all', 'tokenizers'" in fails("list", "codecs")


def test_list_says_which_official_weights_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    make_cache(tmp_path, "neuphonic/neucodec", {"pytorch_model.bin": b"weights"})
    make_cache(tmp_path, "stabilityai/stable-codec-speech-16k", {"model_config.json": b"{}"})  # without its weights
    rows = json.loads(call("list", "tokenizers", "--json").stdout)["tokenizers"]
    available = {row["name"]: row["available"] for row in rows}
    assert available["neucodec"] == "downloaded"
    assert available["codicodec"] == "on the hub (SonyCSLParis/codicodec, 0.6 GB)"
    gated = "on the hub (stabilityai/stable-codec-speech-16k, 3.8 GB, gated)"
    assert available["stable-codec-speech-16k"] == gated
    assert available["codicodec-mini"] == "ships"


@pytest.mark.parametrize("name", PIPELINE_CARDS)
def test_the_card_of_a_pipeline_is_true(name: str) -> None:
    card, pipeline = PIPELINE_CARDS[name], load_pipeline(name)
    assert type(pipeline.generator).__name__ == card.class_name
    assert sum(p.numel() for p in pipeline.generator.parameters()) / 1e6 == pytest.approx(card.parameters_m, abs=0.05)
    assert pipeline.fingerprint == load_tokenizer(card.tokenizer).fingerprint()
