"""The table of embedders says what its rows are, and load_embedder follows it."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from hub_cache import make_cache

from latentune.core.errors import CheckpointError, ConfigError
from latentune.pipelines.measure.embedders import EMBEDDERS, Embedder, load_embedder


def overrides(embedder: type[Embedder], method: str) -> bool:
    return getattr(embedder, method).__func__ is not getattr(Embedder, method).__func__


@pytest.mark.parametrize("name", sorted(EMBEDDERS))
def test_rows_name_classes_that_are_what_they_say(name: str) -> None:
    card = EMBEDDERS[name]
    module, kind = card.path.split(":")
    embedder = getattr(import_module(module, "latentune.pipelines.measure.embedders"), kind)
    assert embedder.name == name
    assert embedder.num_classes == card.num_classes
    assert overrides(embedder, "from_package") == card.shipped
    assert overrides(embedder, "from_checkpoint") != card.shipped
    assert card.licence
    assert card.size
    if card.sample_rate.isdecimal():
        assert int(card.sample_rate) == embedder.sample_rate
        assert float(card.window.split()[0]) == embedder.window_samples / embedder.sample_rate


@pytest.mark.parametrize("name", [name for name, card in EMBEDDERS.items() if card.shipped])
def test_shipped_embedders_load_and_are_as_wide_as_the_table_says(name: str) -> None:
    embedder = load_embedder(name)
    assert str(embedder.dim) == EMBEDDERS[name].dim
    assert embedder.identity()["embedder"] == name
    assert not any(parameter.requires_grad for parameter in embedder.network.parameters())


def test_embedders_are_chosen_by_name() -> None:
    assert load_embedder().name == "musicnn"
    with pytest.raises(ConfigError, match="did you mean 'musicnn'"):
        load_embedder("musican")
    for name in ("vggish", "encodec"):
        with pytest.raises(ConfigError, match="ships no weights: give a checkpoint"):
            load_embedder(name)
    for name in ("musicnn", "yamnet"):
        with pytest.raises(ConfigError, match=f"the embedder is {name}"):
            load_embedder(name, checkpoint="x.pt")


def test_half_precision_changes_embeddings_a_little_and_is_part_of_the_identity() -> None:
    audio = torch.randn(16000 * 4, generator=torch.Generator().manual_seed(1)) * 0.1
    whole, half = load_embedder("musicnn"), load_embedder("musicnn", precision="bf16")
    expected, found = whole.embed(audio), half.embed(audio)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() / expected.norm() < 0.05
    assert half.identity() == {**whole.identity(), "precision": "bf16"}
    with pytest.raises(ValueError, match="unknown precision 'bf61'"):
        load_embedder("musicnn", precision="bf61")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("embedder", "checkpoint", "file"),
    [
        ("clap", None, "music_audioset_epoch_15_esc_90.14.pt"),
        ("clap", "audio", "630k-audioset-best.pt"),
        ("clap", "speech", "music_speech_audioset_epoch_15_esc_89.98.pt"),
        ("clap_fusion", None, "630k-audioset-fusion-best.pt"),
    ],
)
def test_clap_has_weights_by_default_and_by_name(
    embedder: str,
    checkpoint: str | None,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with (
        caplog.at_level("INFO", "latentune.job"),
        pytest.raises(CheckpointError, match=rf"needs lukewys/laion_clap/{file} \(about .* GB; .*hf download.*{file}`"),
    ):
        load_embedder(embedder, checkpoint=checkpoint)
    assert f"embedder {embedder}: fetches lukewys/laion_clap/{file} (about " in caplog.text
    caplog.clear()
    make_cache(tmp_path, "lukewys/laion_clap", {file: b"not weights"})
    with pytest.raises(CheckpointError, match=f"cannot read .*{file} as a torch checkpoint"):
        load_embedder(embedder, checkpoint=checkpoint)
    assert not caplog.records
    with pytest.raises(CheckpointError, match="no CLAP checkpoint at drums"):
        load_embedder(embedder, checkpoint="drums")


def test_an_embedder_of_your_own_is_found_by_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_embedders.py").write_text(
        """
import torch
from latentune.pipelines.measure.embedders import Embedder

class Levels(Embedder):
    name, sample_rate, window_samples, preprocessing = "levels", 8000, 80, "none"

    @classmethod
    def from_package(cls):
        return cls(torch.nn.Linear(1, 1), 1, "nowhere")

    def windows(self, audio):
        return audio[: len(audio) // 80 * 80].reshape(-1, 80)

    def network_output(self, windows):
        return windows.square().mean(1, keepdim=True)

class NotOne:
    pass
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = load_embedder("my_embedders:Levels")
    assert found.embed(torch.ones(160)).tolist() == [[1.0]] * 3
    found = load_embedder("my_embedders:Levels", overlap=0.0)
    assert found.embed(torch.ones(200)).tolist() == [[1.0]] * 2
    with pytest.raises(ConfigError, match="Levels takes no checkpoint"):
        load_embedder("my_embedders:Levels", checkpoint="x.pt")
    with pytest.raises(ConfigError, match="not a subclass"):
        load_embedder("my_embedders:NotOne")
    with pytest.raises(ConfigError, match="no module nowhere"):
        load_embedder("nowhere:Levels")


def test_cards_say_whether_their_packages_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EMBEDDERS["musicnn"].installed
    monkeypatch.setattr("latentune.pipelines.measure.embedders.cards.is_installed", lambda package: False)
    assert not EMBEDDERS["clap_laion"].installed
    assert EMBEDDERS["clap_laion"].extra == "laion-clap"
