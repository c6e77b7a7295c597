"""The order of items: every item once an epoch, and the same wherever one enters it."""

import pytest

from latentune.pipelines.data.shards import ResumableSampler


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("num_items", [1, 2, 7])
def test_every_epoch_holds_every_item_once(num_items, shuffle):
    draws = ResumableSampler(num_items, 0, shuffle).draws(0, 4 * num_items).tolist()
    for epoch in range(4):
        part = draws[epoch * num_items : (epoch + 1) * num_items]
        assert {e for e, _ in part} == {epoch}
        assert sorted(i for _, i in part) == list(range(num_items))


@pytest.mark.parametrize("shuffle", [True, False])
def test_entering_anywhere_continues_the_same_order(shuffle):
    sampler = ResumableSampler(7, 5, shuffle)
    whole = sampler.draws(0, 40).tolist()
    for seen in range(30):
        assert ResumableSampler(7, 5, shuffle).draws(seen, 10).tolist() == whole[seen : seen + 10]
        assert sampler.draws(seen, 3).tolist() == whole[seen : seen + 3]


def test_order_depends_on_seed_and_epoch():
    orders = [tuple(ResumableSampler(50, seed).order(epoch)) for seed in (0, 1, 2**32, -1) for epoch in range(4)]
    assert len(set(orders)) == 16
    assert ResumableSampler(50, 0, shuffle=False).order(3).tolist() == list(range(50))


def test_bad_input():
    with pytest.raises(ValueError, match="no items"):
        ResumableSampler(0, 0)
    with pytest.raises(ValueError, match="counted from 0"):
        ResumableSampler(3, 0).draws(-1, 1)
