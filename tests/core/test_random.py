"""Random tensors, and noise that belongs to the example."""

import pytest
import torch

from latentune.core.random import BatchGenerator, rand, randn, stratified

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
