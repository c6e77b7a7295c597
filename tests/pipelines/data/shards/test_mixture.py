"""Several datasets as one: which items are drawn, how often, and the statistics of the whole."""

import numpy as np
import pytest

from latentune.core.errors import MismatchError
from latentune.pipelines.data.shards import LatentDataset, MixedDataset, MixtureSampler
from latentune.pipelines.data.shards.statistics import latent_statistics


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 0.3), (5.0, 1.0)])
def test_shares_are_kept_and_every_dataset_is_drawn_in_epochs(weights):
    sizes = (40, 300)
    draws = list(map(tuple, MixtureSampler(sizes, weights, seed=1).draws(0, 10_000).tolist()))
    first = [index for _, index in draws if index < sizes[0]]
    assert len(first) / 10_000 == pytest.approx(weights[0] / sum(weights), abs=2e-3)
    assert all(sorted(first[n : n + 40]) == list(range(40)) for n in range(0, len(first) - 40, 40))
    assert len(set(draws)) == len(draws)  # (epoch, index) is unique
    other = list(map(tuple, MixtureSampler(sizes, weights, seed=2).draws(0, 1000).tolist()))
    assert other != draws[:1000]


def test_it_resumes_anywhere():
    def sampler():
        return MixtureSampler((7, 50, 3), (0.2, 0.5, 0.3), seed=3)

    whole = sampler().draws(0, 3000).tolist()
    for start in (1, 255, 256, 257, 1000, 2990):
        assert sampler().draws(start, 10).tolist() == whole[start : start + 10]


def test_items_and_statistics_of_the_whole(encode, corpus, tmp_path):
    encode("one", source=str(corpus / "sub"))
    encode("two", source=str(corpus / "b.flac"))
    one, two = (LatentDataset(tmp_path / name) for name in ("one", "two"))
    both = MixedDataset([one, two])
    assert [item.id for item in both] == [*(item.id for item in one), *(item.id for item in two)]
    assert [meta["id"] for meta in both.metas()] == [item.id for item in both]
    assert both.locate(len(one)) == (1, 0)
    mixed = np.array([len(both) - 1, 0, len(one)])
    found = {part: (at.tolist(), own.tolist()) for part, at, own in both.split(mixed)}
    assert found == {one: ([1], [0]), two: ([0, 2], [len(two) - 1, 0])}
    mean, std = latent_statistics([*one.shards, *two.shards])
    assert both.latent_mean == pytest.approx(mean)
    assert both.latent_std == pytest.approx(std)
    heavy = MixedDataset([one, two], [1.0, 1e9])
    assert heavy.latent_mean == pytest.approx(two.latent_mean, abs=1e-6)
    with pytest.raises(IndexError):
        both[len(both)]


def test_datasets_of_two_codecs_are_refused(encode, make_codec, tmp_path):
    encode("one")
    encode("two", tokenizer=make_codec(scale=4.0))
    with pytest.raises(MismatchError, match="mix datasets of one tokenizer"):
        MixedDataset([LatentDataset(tmp_path / name) for name in ("one", "two")])
