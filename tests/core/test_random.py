"""Random tensors, and noise that belongs to the example."""

import hashlib

import numpy as np
import pytest
import torch

from latentune.core.random import BatchGenerator, keyed_integers, rand, randn, stratified

LIKE = torch.empty(0)


def test_the_noise_of_an_example_does_not_depend_on_the_part_it_is_in() -> None:
    whole = randn((6, 4, 3), BatchGenerator("cpu", (1, 2), range(6), 6), LIKE)
    parts = [randn((2, 4, 3), BatchGenerator("cpu", (1, 2), places, 6), LIKE) for places in ([0, 3], [1, 4], [5, 2])]
    assert torch.equal(whole[[0, 3, 1, 4, 5, 2]], torch.cat(parts))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, randn((6, 4, 3), BatchGenerator("cpu", (1, 3), range(6), 6), LIKE))


def test_a_number_of_the_whole_batch_is_the_same_in_all_parts() -> None:
    one, two = (BatchGenerator("cpu", (1, 2), places, 4) for places in ([0, 2], [1, 3]))
    assert torch.equal(rand((), one, LIKE), rand((), two, LIKE))
    assert torch.equal(torch.randint(99, (5,), generator=one), torch.randint(99, (5,), generator=two))


def test_stratified_numbers_cover_the_interval_over_all_parts() -> None:
    parts = [stratified(2, BatchGenerator("cpu", (7,), places, 4), LIKE) for places in ([0, 2], [1, 3])]
    found = torch.cat(parts).sort().values
    torch.testing.assert_close(found.diff(), torch.full((3,), 0.25))
    assert torch.equal(torch.stack(parts, 1).flatten(), stratified(4, BatchGenerator("cpu", (7,), range(4), 4), LIKE))
    single = stratified(4, torch.Generator().manual_seed(0), LIKE).sort().values
    torch.testing.assert_close(single.diff(), torch.full((3,), 0.25))


def test_noise_of_another_number_of_examples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise of shape \(2, 3\) for 3 examples: give it as \[B, \.\.\.\]"):
        rand((2, 3), BatchGenerator("cpu", (0,), range(3), 3), LIKE)


def test_keyed_integers_depend_on_number_high_and_key_alone() -> None:
    numbers, highs = np.arange(1000), np.arange(1000) % 7 + 1
    drawn = keyed_integers(numbers, highs, 3, "crop")
    assert ((drawn >= 0) & (drawn < highs)).all()
    order = np.random.default_rng(0).permutation(1000)[:300]
    assert (keyed_integers(numbers[order], highs[order], 3, "crop") == drawn[order]).all()
    many = np.full(1000, 1000)
    for other in ((4, "crop"), (3, "text"), (3,)):
        assert (keyed_integers(numbers, many, *other) != keyed_integers(numbers, many, 3, "crop")).mean() > 0.99


def splitmix64(state: int) -> int:
    """The reference of Vigna's splitmix64.c, without its step of the state."""
    mask = 2**64 - 1
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
    return state ^ (state >> 31)


def test_keyed_integers_are_those_of_splitmix64() -> None:
    start = int.from_bytes(hashlib.blake2b(repr((7, "x")).encode(), digest_size=8).digest(), "little")
    numbers, high = [0, 1, 2, 2**40, 2**62], 2**32 - 1
    wanted = [(splitmix64((start + number * 0x9E3779B97F4A7C15) % 2**64) >> 32) * high >> 32 for number in numbers]
    assert keyed_integers(np.array(numbers), np.full(5, high), 7, "x").tolist() == wanted
    # the first output of splitmix64.c from the seed 1234567, as published with test vectors of many ports
    assert splitmix64((1234567 + 0x9E3779B97F4A7C15) % 2**64) == 6457827717110365317


@pytest.mark.parametrize("high", [1, 2, 10, 1000])
def test_keyed_integers_are_uniform_and_not_related(high: int) -> None:
    drawn = keyed_integers(np.arange(20_000), np.full(20_000, high), "uniform", high)
    counts = np.bincount(drawn, minlength=high)
    expected = 20_000 / high
    assert ((counts - expected) ** 2 / expected).sum() < high - 1 + 6 * (2 * high) ** 0.5  # chi-squared, 6 deviations
    if high > 1:
        again = keyed_integers(np.arange(20_000), np.full(20_000, high), "again", high)
        for one, two in ((drawn[1:], drawn[:-1]), (drawn, again)):
            assert abs(np.corrcoef(one, two)[0, 1]) < 6 / 20_000**0.5
