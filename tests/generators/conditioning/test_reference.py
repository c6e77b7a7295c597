"""References: what is read of a recording, what is refused, and how they are drawn in training."""

from typing import Any

import numpy as np
import pytest
import torch
from made_dataset import make_dataset

from latentune.core.errors import ConfigError
from latentune.generators.conditioning import ConditionEncoder, ConditioningConfig
from latentune.generators.conditioning.reference import ReferenceConditioner, ReferenceConfig
from latentune.generators.conditions import PreparedConditions
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.data.shards.gather import gather, num_chunks_of
from latentune.pipelines.training import references
from latentune.pipelines.training.conditions import check_conditions
from latentune.pipelines.training.data_config import LatentDataConfig
from latentune.pipelines.training.latent_data import LatentCrops
from latentune.pipelines.training.references import References


@pytest.fixture
def conditioner() -> ReferenceConditioner:
    torch.manual_seed(0)
    return ReferenceConditioner(16, ReferenceConfig(latent_dim=3, max_frames=20, heads=2, num_tokens=2)).eval()


def encode(conditioner: ReferenceConditioner, *values: Any, drop: list[bool] | None = None) -> Any:
    return conditioner(conditioner.prepare(values), torch.tensor(drop or [False] * len(values)))


def test_a_recording_does_not_depend_on_its_batch_nor_on_what_is_not_read(conditioner: ReferenceConditioner) -> None:
    long, short = torch.randn(50, 3), torch.randn(5, 3)
    together = encode(conditioner, long, short)
    torch.testing.assert_close(together.cross[1], encode(conditioner, short).cross[0])
    torch.testing.assert_close(together.cross[0], encode(conditioner, long[:20]).cross[0])
    assert (together.vector[0] - together.vector[1]).abs().max() > 1e-3


def test_dropped_is_the_same_as_not_given_and_every_weight_learns(conditioner: ReferenceConditioner) -> None:
    found = encode(conditioner, torch.randn(5, 3), None, torch.randn(5, 3), drop=[False, False, True])
    assert torch.equal(found.cross[1], conditioner.null_tokens)
    assert torch.equal(found.cross[2], conditioner.null_tokens)
    found.vector.square().sum().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in conditioner.parameters())


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (torch.zeros(5, 4), r"must be \[frames, 3\], got \(5, 4\)"),
        (torch.zeros(0, 3), r"must be \[frames, 3\]"),
        (torch.full((5, 3), torch.nan), "NaN or inf"),
        ("voice.wav", "got a str"),
        ((torch.zeros(1, 99), 8000), "in a pipeline audio with its rate"),
    ],
)
def test_what_is_no_recording_is_refused(conditioner: ReferenceConditioner, value: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        conditioner.prepare([value])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> LatentDataset:
    """Six items with the labels a, b, a, b, a, b."""
    return LatentDataset(make_dataset(tmp_path_factory.mktemp("made"), [0.5, 1.5, 1.0, 0.5, 1.5, 1.0])["data"])


def draw(name: str, highs: np.ndarray) -> np.ndarray:
    return np.zeros(len(highs), np.int64)


@pytest.mark.parametrize("column", ["audio", "label"])
def test_references_are_parts_of_the_item_or_of_another_one_of_the_same_voice(
    dataset: LatentDataset, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []

    def noted(data: LatentDataset, stream: str, indices: np.ndarray, first: np.ndarray, count: int) -> Any:
        chosen.extend(indices.tolist())
        chunks = num_chunks_of(data, data.places(indices)[0])
        assert ((first == 0) | (first + count <= chunks)).all()
        return gather(data, stream, indices, first, count)

    monkeypatch.setattr(references, "gather", noted)
    chunk = dataset.spec.chunk_latents
    reader = ReferenceConditioner(16, ReferenceConfig(latent_dim=dataset.spec.latent_dim, max_frames=2 * chunk))
    found = References(dataset, "voice", column, reader).of(np.arange(6), draw)
    assert all(0 < len(latents) <= 2 * chunk for latents in found)
    assert chosen == (list(range(6)) if column == "audio" else [2, 3, 0, 1, 0, 1])


def test_batches_hold_references_that_depend_on_their_key_alone(dataset: LatentDataset) -> None:
    kind = {"kind": "reference", "latent_dim": dataset.spec.latent_dim, "heads": 2}
    encoder = ConditionEncoder(ConditioningConfig(width=16, conditioners={"voice": kind}))
    config = LatentDataConfig(source=str(dataset.path), crop_s=0.5, conditions={"voice": "label"})
    facts = check_conditions(dataset, config, encoder)
    assert facts.conditions == ("voice",)
    crops = LatentCrops(dataset, config, seed=0, encoder=encoder)
    keys = crops.keys(0, 4)
    whole, alone = (crops.batch(some).conditions for some in (keys, keys[2:3]))
    assert isinstance(whole, PreparedConditions)
    assert isinstance(alone, PreparedConditions)
    length = int(alone.tensors["voice"]["mask"].sum())
    assert torch.equal(whole.tensors["voice"]["latents"][2, :length], alone.tensors["voice"]["latents"][0, :length])
    assert encoder(whole).tokens.shape == (4, 8, 16)


@pytest.mark.parametrize(
    ("options", "column", "match"),
    [
        ({"latent_dim": 3}, "audio", "has latent_dim 3, the codec of"),
        ({}, "speaker", r"no column 'speaker' .*data.conditions.voice=audio takes a part"),
    ],
)
def test_a_dataset_that_cannot_give_references_is_refused(
    dataset: LatentDataset, options: dict[str, Any], column: str, match: str
) -> None:
    kind = {"kind": "reference", "latent_dim": dataset.spec.latent_dim, "heads": 2, **options}
    encoder = ConditionEncoder(ConditioningConfig(width=16, conditioners={"voice": kind}))
    config = LatentDataConfig(source=str(dataset.path), conditions={"voice": column})
    with pytest.raises(ConfigError, match=match):
        check_conditions(dataset, config, encoder)
