"""A signal in pieces gives what the whole gives, whatever the pieces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.melcodec.stages import ChainStream, Stage, StageStream, StatelessStage, run_stages


class Window(StatelessStage):
    """Sums of `left + frame_steps + right` steps with weights of their own."""

    def __init__(self, left: int, right: int, frame_steps: int = 1):
        super().__init__(left, right, frame_steps)
        self.weights = torch.arange(1.0, left + right + frame_steps + 1).double()

    def valid(self, segment: Tensor) -> Tensor:
        return torch.einsum("btck,k->btc", segment.unfold(1, len(self.weights), self.frame_steps), self.weights)


class Count(Stage):
    """Adds the number of frames so far: a stage that remembers."""

    def begin(self) -> list[int]:
        return [0]

    def resume(self, segment: Tensor, state: list[int]) -> Tensor:
        numbers = state[0] + torch.arange(segment.shape[1])
        state[0] += segment.shape[1]
        return segment + numbers[None, :, None]


STAGES = [Window(5, 3, frame_steps=4), Window(2, 0), Count(), Window(0, 6), Window(1, 1)]


def collected(stream: ChainStream, pieces: list[Tensor]) -> Tensor:
    parts = [*map(stream.push, pieces), stream.flush()]
    return torch.cat([part for part in parts if part is not None], dim=1)


@pytest.mark.parametrize("sizes", [[4, 4, 8, 24], [40], [1] * 40, [3, 37], [39, 1]])
def test_pieces_of_any_size_give_the_whole(sizes: list[int], generator: torch.Generator) -> None:
    steps = torch.randn(2, 40, 3, generator=generator).double()
    whole = run_stages(STAGES, steps)
    assert whole.shape == (2, 10, 3)
    stream = ChainStream(STAGES)
    for _ in range(2):  # the second time after a flush
        torch.testing.assert_close(collected(stream, list(steps.split(sizes, dim=1))), whole)


@pytest.mark.parametrize("piece_frames", [1, 3, 10, 99, None])
def test_a_bound_on_the_memory_does_not_change_the_result(piece_frames: int | None, generator: torch.Generator) -> None:
    steps = torch.randn(1, 40, 2, generator=generator).double()
    torch.testing.assert_close(run_stages(STAGES, steps, piece_frames), run_stages(STAGES, steps))


def test_a_stage_without_a_view_ahead_gives_each_frame_at_once() -> None:
    stream = StageStream(Window(3, 0))
    for _ in range(5):
        frames = stream.push(torch.ones(1, 1, 1).double())
        assert frames is not None
        assert frames.shape == (1, 1, 1)
    assert stream.flush() is None


def test_frames_come_as_late_as_the_views_ahead_add_up_to() -> None:
    stream = ChainStream([Window(0, 2), Window(0, 3)])
    given = [stream.push(torch.ones(1, 1, 1).double()) for _ in range(7)]
    assert [frames is not None for frames in given] == [False] * 5 + [True] * 2


def test_what_is_held_does_not_grow_with_the_signal() -> None:
    stream = StageStream(Window(3, 2))
    for _ in range(50):
        stream.push(torch.ones(1, 10, 1).double())
    assert stream.held is not None
    assert stream.held.shape[1] == 5
    assert stream.held.untyped_storage().nbytes() == 5 * 8


def test_another_batch_is_refused() -> None:
    stream = StageStream(Window(1, 1))
    stream.push(torch.ones(2, 3, 1).double())
    with pytest.raises(ValueError, match="a batch of 2, got one of 1"):
        stream.push(torch.ones(1, 3, 1).double())


def test_an_empty_stream_gives_nothing() -> None:
    assert ChainStream(STAGES).flush() is None
