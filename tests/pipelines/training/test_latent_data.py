"""Random crops of a shard dataset."""

import json
from itertools import islice
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fake_codec import FakeCodec

from latentune.core.config import build_config
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.training.data_config import LatentDataConfig
from latentune.pipelines.training.latent_data import LatentCrops, open_latents

RATE = 8000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> LatentDataset:
    """Four items of 4 to 10 chunks."""
    folder = tmp_path_factory.mktemp("made")
    rng, rows = np.random.default_rng(0), []
    for number, seconds in enumerate((0.2, 0.3, 0.35, 0.45)):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, (round(seconds * RATE), 2)), RATE)
        rows.append({"path": f"{number}.wav", "text": f"noise {number}", "label": "ab"[number % 2]})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = EncodeConfig(source=str(folder / "manifest.jsonl"), output=str(folder / "data"), device="cpu")
    encode_dataset(settings, tokenizer=FakeCodec().eval())
    return LatentDataset(folder / "data")


def crops(dataset: LatentDataset, seed: int, **options: Any) -> LatentCrops:
    return LatentCrops(dataset, LatentDataConfig(source=str(dataset.path), **options), seed)


def test_batches_are_a_function_of_seed_and_keys(dataset: LatentDataset) -> None:
    one, two, other = (crops(dataset, seed, crop_s=0.1) for seed in (3, 3, 4))
    keys = list(islice(one.keys(0), 12))
    assert keys == list(islice(two.keys(0), 12))
    assert keys[5:] == list(islice(one.keys(5), 7))
    batch = one.collate([one.load(key) for key in keys])
    again = two.collate([two.load(key) for key in reversed(keys)][::-1])
    assert batch.latents is not None
    assert batch.tokens is not None
    assert torch.equal(batch.latents, again.latents)
    assert torch.equal(batch.tokens, again.tokens)
    assert batch.ids == [dataset[index].id for _, index in keys]
    different = other.collate([other.load(key) for key in keys])
    assert different.ids == batch.ids
    assert not torch.equal(batch.latents, different.latents)
    alone = [one.collate([one.load(key)]).latents for key in keys]
    assert torch.equal(torch.cat(alone), batch.latents)
    # the same item has another crop in another epoch
    assert any(
        not torch.equal(one.load((0, index)).latents, one.load((1, index)).latents) for index in range(len(dataset))
    )


def test_crops_longer_than_an_item_hold_all_of_it(dataset: LatentDataset) -> None:
    examples = crops(dataset, 0, crop_s=10.0)
    batch = examples.collate([examples.load((0, index)) for index in range(4)])
    assert batch.latent_mask is not None
    assert batch.latent_mask.sum(1).tolist() == [len(dataset[index].latents) for index in range(4)]
    assert examples.num_items == 4


def test_the_choice_of_items_is_that_of_the_config(dataset: LatentDataset) -> None:
    config = LatentDataConfig(source=str(dataset.path), where={"label": "a"}, valid_where={"label": "b"})
    assert [item.metadata["text"] for item in open_latents(config)] == ["noise 0", "noise 2"]
    assert [item.metadata["text"] for item in open_latents(config, held_out=True)] == ["noise 1", "noise 3"]


def test_several_datasets_are_drawn_from_by_weight(dataset: LatentDataset) -> None:
    path = str(dataset.path)
    config = build_config(LatentDataConfig, {"source": [path, path], "source_weights": [3, 1], "crop_s": 0.1})
    mixed = open_latents(config)
    examples = LatentCrops(mixed, config, 0)
    keys = [key for key, _ in zip(examples.keys(0), range(1024), strict=False)]
    assert examples.num_items == 2 * len(dataset)
    assert sum(index < len(dataset) for _, index in keys) == 768
    assert next(examples.keys(300)) == keys[300]
    assert len(examples.collate([examples.load(key) for key in keys[:3]]).ids) == 3
    plain = open_latents(LatentDataConfig(source=(path, path), where={"label": "a"}))
    assert [item.metadata["label"] for item in plain] == ["a"] * 4
    assert isinstance(open_latents(LatentDataConfig(source=(path,))), LatentDataset)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, 1.0, 1.0)])
def test_weights_that_do_not_fit_the_datasets_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one number above 0 per dataset"):
        LatentDataConfig(source=("a", "b"), source_weights=weights)
