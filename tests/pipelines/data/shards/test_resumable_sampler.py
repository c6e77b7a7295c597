"""The order of items: every item once an epoch, and the same wherever one enters it."""

from itertools import islice

import pytest

from latentune.pipelines.data.shards import ResumableSampler


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("num_items", [1, 2, 7])
def test_every_epoch_holds_every_item_once(num_items, shuffle):
    draws = list(islice(ResumableSampler(num_items, 0, shuffle).iter_from(0), 4 * num_items))
    for epoch in range(4):
        part = draws[epoch * num_items : (epoch + 1) * num_items]
        assert {e for e, _ in part} == {epoch}
        assert sorted(i for _, i in part) == list(range(num_items))


@pytest.mark.parametrize("shuffle", [True, False])
def test_entering_anywhere_continues_the_same_order(shuffle):
    sampler = ResumableSampler(7, 5, shuffle)
    whole = list(islice(sampler.iter_from(0), 40))
    for seen in range(30):
        assert list(islice(ResumableSampler(7, 5, shuffle).iter_from(seen), 10)) == whole[seen : seen + 10]


def test_order_depends_on_seed_and_epoch():
    orders = [tuple(ResumableSampler(50, seed).order(epoch)) for seed in (0, 1, 2**32, -1) for epoch in range(4)]
    assert len(set(orders)) == 16
    assert ResumableSampler(50, 0, shuffle=False).order(3) == list(range(50))


def test_bad_input():
    with pytest.raises(ValueError, match="no items"):
        ResumableSampler(0, 0)
    with pytest.raises(ValueError, match="samples_seen"):
        next(ResumableSampler(3, 0).iter_from(-1))
