"""Times that few frames differ in: the same as a time for each frame, computed once for each time."""

from __future__ import annotations

import torch
from torch import Tensor

from latentune.generators.diffusion.frame_times import FrameTimes, spread

VALUES = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
INDEX = torch.tensor([[0, 1, 1], [1, 0, 0]])


def test_each_frame_has_the_time_that_its_index_names() -> None:
    torch.testing.assert_close(FrameTimes(VALUES, INDEX).each(), torch.tensor([[0.1, 0.2, 0.2], [0.4, 0.3, 0.3]]))
    assert FrameTimes.of(torch.tensor([0.5, 0.6])).each().shape == (2, 1)
    torch.testing.assert_close(FrameTimes.of(VALUES).each(), VALUES)


def test_given_frames_stand_at_zero_and_the_others_where_they_were() -> None:
    where = torch.tensor([[True, False, False], [False, False, True]])
    for times in (FrameTimes(VALUES, INDEX), FrameTimes.of(VALUES[:, 0]), FrameTimes.of(torch.rand(2, 3))):
        torch.testing.assert_close(times.given(where).each(), times.each().expand(2, 3).masked_fill(where, 0.0))


def test_times_follow_each_other() -> None:
    for first in (FrameTimes(VALUES, INDEX), FrameTimes.of(VALUES[:, 0])):
        for second in (FrameTimes.of(torch.rand(2, 3)), FrameTimes.of(VALUES[:, 1])):
            expected = torch.cat([first.each().expand(2, 3), second.each().expand(2, 3)], 1)
            torch.testing.assert_close(first.then(second, 3).each(), expected)


def test_what_is_computed_once_for_each_time_is_spread_over_the_frames_with_its_gradient() -> None:
    def loss(spread_over_frames: bool) -> tuple[Tensor, Tensor]:
        x = torch.arange(16.0).view(2, 2, 2, 2).requires_grad_()
        weights = FrameTimes(VALUES, INDEX).weights(x.dtype)
        out = spread(x, weights) if spread_over_frames else x[torch.arange(2)[:, None], INDEX]
        out.square().sum().backward()
        assert x.grad is not None
        return out, x.grad

    for mine, other in zip(loss(True), loss(False), strict=True):
        torch.testing.assert_close(mine, other)
    assert spread(VALUES, None) is VALUES
