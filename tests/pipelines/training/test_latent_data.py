"""Random crops of a shard dataset."""

import json
from typing import Any, cast

import numpy as np
import pyarrow
import pytest
import soundfile
import torch
from fake_codec import FakeCodec

from latentune.core.config import build_config
from latentune.core.errors import DatasetError
from latentune.generators.conditions import Conditions
from latentune.pipelines.data.shards import LatentDataset, collate
from latentune.pipelines.data.shards.crops import crop, pad
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


def as_collated(dataset: LatentDataset, index: int, first: int, num_chunks: int) -> Any:
    """The crop of one item by way of the item itself."""
    item = pad(crop(dataset[index], dataset.spec, first, num_chunks), dataset.spec, num_chunks, dataset.silence)
    return collate([item], dataset.spec, dataset.silence)


@pytest.mark.parametrize("num_chunks", [1, 3, 6, 20])
def test_a_batch_holds_crops_of_its_items(dataset: LatentDataset, num_chunks: int) -> None:
    chunk_s = dataset.spec.chunk_samples / dataset.spec.sample_rate
    examples = crops(dataset, 0, crop_s=num_chunks * chunk_s)
    keys = examples.keys(0, 40)
    batch = examples.batch(keys)
    given = cast(Conditions, batch.conditions).values
    starts = set()
    for row, index in enumerate(keys[:, 1].tolist()):
        item = dataset[index]
        first = round((given["seconds"][row][0] - item.seconds_start) / chunk_s)
        starts.add((index, first))
        want = as_collated(dataset, index, first, num_chunks)
        for name in ("latents", "latent_mask", "tokens", "token_mask"):
            assert torch.equal(getattr(batch, name)[row], getattr(want, name)[0])
            assert getattr(batch, name).dtype == getattr(want, name).dtype
        assert given["seconds"][row] == pytest.approx(want.conditions.values["seconds"][0])
        assert (given["text"][row], given["label"][row]) == (item.metadata["text"], item.metadata["label"])
        assert batch.ids[row] == item.id
    lengths = [len(item.latents) // dataset.spec.chunk_latents for item in dataset]  # type: ignore[arg-type]
    assert all(first <= max(0, lengths[index] - num_chunks) for index, first in starts)
    assert num_chunks > min(lengths) or len(starts) > len(dataset)


def test_batches_are_a_function_of_seed_and_keys(dataset: LatentDataset) -> None:
    one, two, other = (crops(dataset, seed, crop_s=0.1) for seed in (3, 3, 4))
    keys = one.keys(0, 12)
    assert keys.tolist() == two.keys(0, 12).tolist()
    assert keys[5:].tolist() == one.keys(5, 7).tolist()
    batch, again, different = one.batch(keys), two.batch(keys[::-1]), other.batch(keys)
    assert batch.latents is not None
    assert batch.tokens is not None
    assert torch.equal(batch.latents, again.latents.flip(0))  # type: ignore[union-attr]
    assert torch.equal(batch.tokens, again.tokens.flip(0))  # type: ignore[union-attr]
    assert batch.ids == again.ids[::-1] == different.ids == [dataset[index].id for _, index in keys]
    assert not torch.equal(batch.latents, different.latents)  # type: ignore[arg-type]
    alone = [one.batch(keys[row : row + 1]).latents for row in range(12)]
    assert torch.equal(torch.cat(alone), batch.latents)  # type: ignore[arg-type]
    # the same items have other crops in another epoch
    epochs = [one.batch(np.array([[epoch, index] for index in range(len(dataset))])).latents for epoch in range(2)]
    assert not torch.equal(*epochs)  # type: ignore[arg-type]


def test_starts_are_equally_likely(dataset: LatentDataset) -> None:
    chunk_s = dataset.spec.chunk_samples / dataset.spec.sample_rate
    index = max(range(len(dataset)), key=lambda n: dataset[n].num_samples)
    places = len(dataset[index].latents) // dataset.spec.chunk_latents - 1  # type: ignore[arg-type]
    examples = crops(dataset, 0, crop_s=2 * chunk_s)
    batch = examples.batch(np.array([[epoch, index] for epoch in range(2000)]))
    starts = [round(start / chunk_s) for start, _ in cast(Conditions, batch.conditions).values["seconds"]]
    counts = np.bincount(starts)
    share = 2000 / places
    assert len(counts) == places
    assert (abs(counts - share) < 5 * share**0.5).all()  # five standard deviations


def test_crops_longer_than_an_item_hold_all_of_it(dataset: LatentDataset) -> None:
    examples = crops(dataset, 0, crop_s=10.0)
    batch = examples.batch(np.array([[0, index] for index in range(4)]))
    assert batch.latent_mask is not None
    assert batch.latent_mask.sum(1).tolist() == [len(dataset[index].latents) for index in range(4)]  # type: ignore[arg-type]
    assert examples.num_items == 4


def test_an_index_that_does_not_fit_its_shards_is_noticed(dataset: LatentDataset) -> None:
    moved = LatentDataset(dataset.path)
    moved.columns.numbers("num_latents")
    moved.columns._loaded["num_latents"] = pyarrow.array([4 * dataset.spec.chunk_latents] * 4)
    examples = crops(moved, 0, crop_s=0.1)
    with pytest.raises(DatasetError, match="the index does not fit shard"):
        examples.batch(examples.keys(0, 4))


def test_the_choice_of_items_is_that_of_the_config(dataset: LatentDataset) -> None:
    config = LatentDataConfig(source=str(dataset.path), where={"label": "a"}, valid_where={"label": "b"})
    assert [item.metadata["text"] for item in open_latents(config)] == ["noise 0", "noise 2"]
    assert [item.metadata["text"] for item in open_latents(config, held_out=True)] == ["noise 1", "noise 3"]


def test_crops_that_are_mostly_padding_are_reported(dataset: LatentDataset, caplog: pytest.LogCaptureFixture) -> None:
    open_latents(LatentDataConfig(source=str(dataset.path), crop_s=0.5))
    assert caplog.text == ""
    open_latents(LatentDataConfig(source=str(dataset.path), crop_s=100.0))
    assert "data.crop_s is 100 s, and the longest item has" in caplog.text


def test_several_datasets_are_drawn_from_by_weight(dataset: LatentDataset) -> None:
    path = str(dataset.path)
    config = build_config(LatentDataConfig, {"source": [path, path], "source_weights": [3, 1], "crop_s": 0.1})
    mixed = open_latents(config)
    examples = LatentCrops(mixed, config, 0)
    keys = examples.keys(0, 1024)
    assert examples.num_items == 2 * len(dataset)
    assert sum(index < len(dataset) for _, index in keys) == 768
    assert examples.keys(300, 1).tolist() == keys[300:301].tolist()
    some = keys[:9]
    batch = examples.batch(some)
    assert batch.ids == [mixed[index].id for _, index in some]
    for row in range(9):
        alone = examples.batch(some[row : row + 1])
        assert torch.equal(alone.latents[0], batch.latents[row])  # type: ignore[index]
        assert cast(Conditions, batch.conditions).rows([row]).values == cast(Conditions, alone.conditions).values
    plain = open_latents(LatentDataConfig(source=(path, path), where={"label": "a"}))
    assert [item.metadata["label"] for item in plain] == ["a"] * 4
    assert isinstance(open_latents(LatentDataConfig(source=(path,))), LatentDataset)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, 1.0, 1.0)])
def test_weights_that_do_not_fit_the_datasets_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one number above 0 per dataset"):
        LatentDataConfig(source=("a", "b"), source_weights=weights)
