"""Checked sampling requests: whole chunks, prefixes, and every way to ask wrongly."""

from typing import Any

import pytest
import torch
from fake_binding import fake_spec

from latentune.generators.base import Conditions
from latentune.generators.parts.request import SampleRequest, check_request, prefix_frames, refuse_options
from latentune.tokenizers.base import Encoded

SPEC = fake_spec((3, 2))


def encoded(*lengths: int) -> Encoded:
    frames = SPEC.num_latents(max(lengths))
    return Encoded(
        latents=torch.randn(len(lengths), frames, 3),
        tokens=torch.zeros(len(lengths), 2 * frames, 1, dtype=torch.int64),
        lengths_samples=torch.tensor(lengths),
    )


def ask(
    lengths: Any, prefix: Encoded | None = None, guidance_scale: float = 1.0, count: int | None = None
) -> SampleRequest:
    lengths = torch.tensor(lengths)
    conditions = Conditions.of([""] * (lengths.numel() if count is None else count), 1.0)
    return check_request(SPEC, conditions, lengths, guidance_scale, prefix)


def test_lengths_become_whole_chunks() -> None:
    request = ask([1, 25, 26, 45, 46])
    assert request.num_chunks == (1, 1, 2, 2, 3)
    assert request.prefix_chunks == (0,) * 5
    assert request.lengths_samples.tolist() == [1, 25, 26, 45, 46]


@pytest.mark.parametrize(("length", "chunks"), [(25, 1), (44, 1), (45, 2), (64, 2), (65, 3)])
def test_only_chunks_that_hold_nothing_but_real_audio_are_kept_of_a_prefix(length: int, chunks: int) -> None:
    assert ask([100, 200], encoded(length)).prefix_chunks == (chunks, chunks)


def test_each_item_can_have_its_own_prefix() -> None:
    assert ask([100, 200], encoded(25, 65)).prefix_chunks == (1, 3)


@pytest.mark.parametrize("length", [0, -3])
def test_a_length_below_one_sample_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ask([10, length])


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_a_guidance_scale_without_meaning_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="guidance_scale"):
        ask([10], guidance_scale=scale)


def test_lengths_that_are_no_integers_or_not_one_an_item_are_refused() -> None:
    with pytest.raises(TypeError, match="integers"):
        ask([1.5])
    with pytest.raises(TypeError, match="integers"):
        ask([[10]])
    with pytest.raises(ValueError, match="3 conditions, but 2 lengths"):
        ask([10, 10], count=3)
    with pytest.raises(ValueError, match="0 conditions"):
        check_request(SPEC, Conditions.of([], 1.0), torch.zeros(0, dtype=torch.int64), 1.0, None)


def test_prefixes_that_cannot_be_continued_are_refused() -> None:
    with pytest.raises(ValueError, match="no whole chunk: at least 25"):
        ask([100], encoded(24))
    with pytest.raises(ValueError, match="leaves nothing"):
        ask([45], encoded(45))
    with pytest.raises(ValueError, match="prefix of 2 items for 3"):
        ask([100] * 3, encoded(25, 25))
    with pytest.raises(ValueError, match="should have 9"):
        prefix_frames(torch.zeros(1, 8, 3), 0, 9)


def test_an_unknown_option_names_the_nearest_one() -> None:
    refuse_options({}, ["temperature"])
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        refuse_options({"temprature": 1.0}, ["temperature", "top_k"])
