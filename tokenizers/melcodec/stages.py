"""Layers with a bounded view of their neighbours: a signal that comes in pieces gives the same as the whole.

A stage sees `left` steps before and `right` steps after each frame; a frame is `frame_steps` steps of its input (1 but
for the front, whose steps are samples). Beyond the ends of a signal everything is zero.

Shape letters: B batch, S steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stage(nn.Module, ABC):
    """A layer from steps [B, S, ...] to frames [B, S / frame_steps, ...]."""

    def __init__(self, left: int = 0, right: int = 0, frame_steps: int = 1):
        super().__init__()
        self.left, self.right, self.frame_steps = left, right, frame_steps

    def begin(self) -> Any:
        """The state of a stage at a signal's start, beyond the frames around it; None: there is no state."""
        return None

    @abstractmethod
    def resume(self, segment: Tensor, state: Any) -> Tensor:
        """Steps [B, left + n * frame_steps + right, ...] to the n frames in the middle.

        Args:
            segment: the steps.
            state: what `begin` gave, which is moved on.
        """

    def forward(self, steps: Tensor) -> Tensor:
        """A whole signal."""
        return self.resume(pad_steps(steps, self.left, self.right), self.begin())


class StatelessStage(Stage):
    """A stage that remembers nothing but the steps around a frame."""

    @abstractmethod
    def valid(self, segment: Tensor) -> Tensor:
        """Steps [B, left + n * frame_steps + right, ...] to the n frames in the middle."""

    def resume(self, segment: Tensor, state: None) -> Tensor:
        return self.valid(segment)


def pad_steps(steps: Tensor, left: int, right: int) -> Tensor:
    """Adds zeros before and after steps.

    Args:
        steps: [B, S, ...].
        left: zeros before the first step.
        right: zeros after the last step.

    Returns:
        [B, left + S + right, ...].
    """
    return F.pad(steps, (0, 0) * (steps.ndim - 2) + (left, right)) if left or right else steps


class StageStream:
    """A stage at work on a signal that comes in pieces: the frames of all pieces are those of the whole."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.held: Tensor | None = None  # steps from `left` before the next frame on
        self.state: Any = None

    def push(self, steps: Tensor) -> Tensor | None:
        """Takes the next steps [B, n, ...]; returns the frames that they complete, if any.

        Raises:
            ValueError: another batch than before.
        """
        if self.held is None:
            self.held, self.state = pad_steps(steps, self.stage.left, 0), self.stage.begin()
        elif len(steps) != len(self.held):
            raise ValueError(f"the stream has a batch of {len(self.held)}, got one of {len(steps)}")
        else:
            self.held = torch.cat((self.held, steps), dim=1)
        return self._frames()

    def flush(self) -> Tensor | None:
        """Ends the signal, which must have come in whole frames; returns what waited. The stream starts over."""
        if self.held is None:
            return None
        self.held = pad_steps(self.held, 0, self.stage.right)
        frames, self.held = self._frames(), None
        return frames

    def _frames(self) -> Tensor | None:
        stage, held = self.stage, self.held
        assert held is not None
        count = (held.shape[1] - stage.left - stage.right) // stage.frame_steps
        if count < 1:
            return None
        used = count * stage.frame_steps
        frames = stage.resume(held[:, : stage.left + used + stage.right], self.state)
        self.held = held[:, used:].clone()  # a view would keep all that ever came
        return frames


class ChainStream:
    """Stages one after the other on a signal that comes in pieces."""

    def __init__(self, stages: Sequence[Stage]):
        self.streams = [StageStream(stage) for stage in stages]

    def push(self, steps: Tensor) -> Tensor | None:
        """As of `StageStream`."""
        frames: Tensor | None = steps
        for stream in self.streams:
            if frames is None:
                return None
            frames = stream.push(frames)
        return frames

    def flush(self) -> Tensor | None:
        """As of `StageStream`."""
        frames: Tensor | None = None
        for stream in self.streams:
            pushed = None if frames is None else stream.push(frames)
            parts = [part for part in (pushed, stream.flush()) if part is not None]
            frames = torch.cat(parts, dim=1) if parts else None
        return frames


def stage_pieces(stages: Sequence[Stage], steps: Tensor, piece_frames: int | None = None) -> Iterator[Tensor]:
    """Runs a whole signal through stages, piece by piece.

    Args:
        stages: the layers in order.
        steps: [B, S, ...], of whole frames.
        piece_frames: frames worked on at a time, which bounds the memory and does not change the result beyond the
            order of sums; None: all.

    Yields:
        The frames [B, n, ...] of all pieces, in order; any n.
    """
    size = stages[0].frame_steps * piece_frames if piece_frames is not None else steps.shape[1]
    if steps.shape[1] <= size:
        for stage in stages:
            steps = stage(steps)
        yield steps
        return
    stream = ChainStream(stages)
    for piece in steps.split(size, dim=1):
        if (frames := stream.push(piece)) is not None:
            yield frames
    if (frames := stream.flush()) is not None:
        yield frames


def run_stages(stages: Sequence[Stage], steps: Tensor, piece_frames: int | None = None) -> Tensor:
    """Returns all frames [B, T, ...] of a whole signal; see `stage_pieces`."""
    return torch.cat(list(stage_pieces(stages, steps, piece_frames)), dim=1)
