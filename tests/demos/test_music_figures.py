"""The figures of a generator of music on sounds whose figures are known."""

import math
import types
from typing import Any, cast

import pytest
import torch

from latentune.demos.recipes import music_figures, music_seams

RATE = 24_000


def noise(seconds: float = 2.0, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def test_clusters_are_told_apart_and_noise_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = [number for number in range(6) for _ in range(8)]
    apart = torch.eye(200)[labels] * 20 + torch.randn(48, 200, generator=generator)
    found = music_figures.told_apart(apart, labels)
    assert (found["right"], found["of"], found["chance"]) == (48, 48, pytest.approx(1 / 6))
    assert (found["best_four"]["right"], found["best_four"]["of"]) == (32, 32)
    chance = [music_figures.told_apart(torch.randn(48, 200, generator=generator), labels)["right"] for _ in range(10)]
    assert sum(chance) / 480 < 0.25, "an embedding must not help to find itself"


def test_the_interval_is_wilsons() -> None:
    low, high = music_figures.wilson(33, 60)
    assert (round(low, 3), round(high, 3)) == (0.425, 0.669)  # statsmodels.stats.proportion.proportion_confint
    assert music_figures.wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-9)


def test_a_step_has_its_size_and_even_audio_none() -> None:
    audio = noise()
    louder = torch.cat([audio[:, :RATE], 2 * audio[:, RATE:]], 1)
    assert music_seams.step_db(louder, RATE, RATE) - music_seams.step_db(audio, RATE, RATE) == pytest.approx(
        6.02, abs=0.01
    )
    found = music_seams.seams([(louder, RATE)], [(audio, RATE)], [[RATE]])
    assert found["step_excess_db"] == pytest.approx(6.02, abs=1.0)
    assert music_seams.seams([(audio, RATE)], [(audio, RATE)], [[RATE, RATE // 2]])["step_excess_db"] == 0.0


def test_a_click_is_heard_at_its_border_alone() -> None:
    tone = 0.3 * torch.sin(2 * math.pi * 300 * torch.arange(2 * RATE) / RATE)[None] + 0.01 * noise()
    clicked = tone.clone()
    clicked[:, RATE] += 0.5
    assert music_seams.click_db(clicked, RATE, RATE) > 20
    assert abs(music_seams.click_db(clicked, RATE, RATE // 2)) < 3
    assert abs(music_seams.click_db(tone, RATE, RATE)) < 3


class Streamed:
    """A pipeline whose streams are noise, with or without a click where a block begins."""

    sample_rate, block_samples = RATE, RATE // 2

    def __init__(self, click: float):
        self.click = click

    def stream(self, prompt: str, *, duration_s: float, generator: torch.Generator) -> "Session":
        audio = noise(duration_s, seed=generator.initial_seed())
        audio[:, self.block_samples :: self.block_samples] += self.click
        return Session(audio, self.block_samples)


class Session(list[torch.Tensor]):
    sample_rate = RATE

    def __init__(self, audio: torch.Tensor, block_samples: int):
        super().__init__(audio.split(block_samples, 1))
        self.stream = types.SimpleNamespace(block_samples=block_samples)


def test_seams_of_streams_are_those_between_blocks() -> None:
    clicked, even = (
        music_seams.seams_of_streams(cast(Any, Streamed(click)), ["a", "b", "c"], 6.0) for click in (1.0, 0.0)
    )
    assert isinstance(clicked, dict)
    assert isinstance(even, dict)
    assert clicked["excess_db"] > 3  # type: ignore[operator]
    assert abs(even["excess_db"]) < 1  # type: ignore[arg-type]
    assert 0 < even["error_db"] < 1  # type: ignore[operator]


def test_a_generator_that_cannot_stream_says_so() -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("it cannot stream")

    silent = cast(Any, types.SimpleNamespace(stream=refuse))
    assert music_seams.seams_of_streams(silent, ["a"], 1.0) == "it cannot stream"
