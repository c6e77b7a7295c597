"""The table of embedders says what its rows are, and load_embedder follows it."""

from importlib import import_module

import pytest

from latentune.core.errors import ConfigError
from latentune.pipelines.measure.embedders import EMBEDDERS, load_embedder


@pytest.mark.parametrize("name", sorted(EMBEDDERS))
def test_rows_name_classes_that_are_what_they_say(name: str) -> None:
    card = EMBEDDERS[name]
    module, kind = card.factory.split(":")
    embedder = getattr(import_module(f"latentune.pipelines.measure.embedders.{module}"), kind)
    assert embedder.name == name
    assert embedder.num_classes == card.num_classes
    assert hasattr(embedder, "from_package" if card.shipped else "from_checkpoint")
    if card.sample_rate.isdecimal():
        assert int(card.sample_rate) == embedder.sample_rate
        assert float(card.window_s.split(",")[0]) == embedder.window_samples / embedder.sample_rate


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
    for name in ("clap", "clap_fusion", "vggish", "encodec"):
        with pytest.raises(ConfigError, match="ships no weights: give a checkpoint"):
            load_embedder(name)
    for name in ("musicnn", "yamnet"):
        with pytest.raises(ConfigError, match=f"the embedder is {name}"):
            load_embedder(name, checkpoint="x.pt")
