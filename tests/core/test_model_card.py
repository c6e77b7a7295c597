"""Model cards: their front matter, which one travels with the weights, and what is uploaded."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_cache import make_cache

from latentune.core.model_card import MARK, make_card, written_by_hand
from latentune.pipelines.data.cards import PIPELINE_CARDS
from latentune.tokenizers.cards import SHIPPED_CARDS
from latentune.tokenizers.load import load_tokenizer

HAND_WRITTEN = "---\nlicense: mit\n---\n\n# mine\n"


def front_matter(card: str) -> dict[str, Any]:
    matter: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return matter


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0 (training audio: CC-BY)", {"license": "apache-2.0"}),
        ("CC-BY-NC-4.0", {"license": "cc-by-nc-4.0"}),
        (
            "Stability AI Community License",
            {"license": "other", "license_name": "stability-ai-community-license"},
        ),
        ("unknown", {"license": "unknown"}),
    ],
)
def test_a_card_begins_with_what_hubs_read(licence: str, expected: dict[str, str]) -> None:
    card = make_card("t", licence=licence, tags=("a", "b"), facts={"x": "y"}, usage="z", pipeline_tag=None)
    assert front_matter(card) == {**expected, "library_name": "latentune", "tags": ["a", "b"]}
    assert f"| licence of the weights | {licence} |" in card


@pytest.mark.parametrize("place", [card.place for card in (*SHIPPED_CARDS.values(), *PIPELINE_CARDS.values())])
def test_cards_of_what_ships_have_front_matter(place: str) -> None:
    matter = front_matter((files("latentune") / place / "README.md").read_text(encoding="utf-8"))
    assert matter["license"] == "apache-2.0"
    assert matter["library_name"] == "latentune"
    assert matter["tags"]


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Repository -> card of what was uploaded to it; nothing is."""
    cards: dict[str, str] = {}

    def upload(self: Any, folder: str, repo_id: str, **options: Any) -> None:
        path = Path(folder) / "README.md"
        cards[repo_id] = path.read_text() if path.is_file() else "none"
        assert (Path(folder) / "config.json").is_file()

    monkeypatch.setattr("huggingface_hub.create_repo", lambda name, **_: type("Repo", (), {"repo_id": name}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("diffusers.utils.hub_utils.PushToHubMixin._upload_folder", upload)
    return cards


def test_a_card_is_uploaded_with_the_weights(tiny_taae: Any, tmp_path: Path, pushed: dict[str, str]) -> None:
    tiny_taae.push_to_hub("me/made", private=True, token="x")
    assert front_matter(pushed["me/made"])["tags"][:2] == ["audio", "audio-codec"]
    assert MARK in pushed["me/made"]
    tiny_taae.push_to_hub("me/part", subfolder="tokenizer")
    assert pushed["me/part"] == "none"

    tiny_taae.save_pretrained(tmp_path / "codec")
    (tmp_path / "codec/README.md").write_text(HAND_WRITTEN)
    make_cache(tmp_path / "hub", "me/theirs", {"README.md": HAND_WRITTEN.encode()})
    loaded = load_tokenizer(tmp_path / "codec", precision="bf16")
    loaded.save_pretrained(tmp_path / "copy", push_to_hub=True, repo_id="me/copied")
    loaded.push_to_hub("me/theirs")
    assert pushed["me/copied"] == written_by_hand(tmp_path / "copy") == HAND_WRITTEN
    assert pushed["me/theirs"] == "none", "a card in the repository stays"

    with torch.no_grad():
        next(loaded.parameters()).add_(1)
    loaded.push_to_hub("me/changed")
    assert MARK in pushed["me/changed"], "other weights than those of the card"
    loaded.save_pretrained(tmp_path / "changed")
    assert not (tmp_path / "changed/README.md").exists()
