"""Checked sampling requests: whole chunks, what is given, and every way to ask wrongly."""

from typing import Any

import pytest
import torch
from fake_binding import fake_spec

from latentune.generators.conditions import Conditions
from latentune.generators.given import Given
from latentune.generators.parts.request import SampleRequest, check_request, lay_given
from latentune.tokenizers.base import Encoded

SPEC = fake_spec((3, 2))


def encoded(*lengths: int) -> Encoded:
    frames = SPEC.num_latents(max(lengths))
    return Encoded(
        latents=torch.randn(len(lengths), frames, 3),
        tokens=torch.zeros(len(lengths), 2 * frames, 1, dtype=torch.int64),
        lengths_samples=torch.tensor(lengths),
    )


def ask(lengths: Any, given: Given | None = None, count: int | None = None) -> SampleRequest:
    lengths = torch.tensor(lengths)
    conditions = Conditions.of([""] * (lengths.numel() if count is None else count), 1.0)
    return check_request(SPEC, conditions, lengths, given)


def continued(lengths: list[int], *given: int) -> SampleRequest:
    return ask(lengths, Given.prefix(encoded(*given), SPEC))


def kept(request: SampleRequest) -> list[int]:
    return [int(n) for n in request.keep.sum(1)]


def test_lengths_become_whole_chunks() -> None:
    request = ask([1, 25, 26, 45, 46])
    assert request.num_chunks == (1, 1, 2, 2, 3)
    assert kept(request) == [0] * 5
    assert request.lengths_samples.tolist() == [1, 25, 26, 45, 46]


@pytest.mark.parametrize(("length", "chunks"), [(25, 1), (44, 1), (45, 2), (64, 2), (65, 3)])
def test_only_chunks_that_hold_nothing_but_real_audio_are_kept_of_a_prefix(length: int, chunks: int) -> None:
    assert kept(continued([100, 200], length)) == [chunks, chunks]


def test_each_item_can_have_its_own_prefix() -> None:
    request = continued([100, 200], 25, 65)
    assert kept(request) == [1, 3]
    assert request.keep[1, :3].all()


def test_any_chunks_can_be_kept() -> None:
    keep = torch.tensor([[True, False, True, False, True]])
    request = ask([100, 120], Given(encoded=encoded(100), keep=keep))
    assert request.keep.shape == (2, 6)
    assert request.keep[:, :5].tolist() == [keep[0].tolist()] * 2
    assert not request.keep[:, 5].any()


@pytest.mark.parametrize("length", [0, -3])
def test_a_length_below_one_sample_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ask([10, length])


def test_lengths_that_are_no_integers_or_not_one_an_item_are_refused() -> None:
    with pytest.raises(TypeError, match="integers"):
        ask([1.5])
    with pytest.raises(TypeError, match="integers"):
        ask([[10]])
    with pytest.raises(ValueError, match="3 conditions, but 2 lengths"):
        ask([10, 10], count=3)
    with pytest.raises(ValueError, match="0 conditions"):
        check_request(SPEC, Conditions.of([], 1.0), torch.zeros(0, dtype=torch.int64), None)


def test_prefixes_that_cannot_be_continued_are_refused() -> None:
    with pytest.raises(ValueError, match="no whole chunk to continue: at least 25"):
        continued([100], 24)
    with pytest.raises(ValueError, match="leaves nothing"):
        continued([45], 45)
    with pytest.raises(ValueError, match="leaves nothing"):
        continued([45], 65)
    with pytest.raises(ValueError, match="audio of 2 items for 3"):
        continued([100] * 3, 25, 25)


def test_an_item_can_be_given_whole_where_it_carries_noise() -> None:
    audio, keep = encoded(100), torch.ones(1, 5, dtype=torch.bool)
    request = ask([100], Given(encoded=audio, keep=keep, noise_level=0.5))
    assert request.keep.all()
    assert request.noise_level == 0.5
    with pytest.raises(ValueError, match=r"leaves nothing .* noise_level above 0"):
        ask([100], Given(encoded=audio, keep=keep))


def test_wrong_keeps_are_refused() -> None:
    audio = encoded(100)
    for keep, message in (
        (torch.ones(5), "keep must be bool"),
        (torch.ones(5, dtype=torch.bool), "keep must be bool"),
    ):
        with pytest.raises(ValueError, match=message):
            Given(encoded=audio, keep=keep)
    for level in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="noise_level must lie in"):
            Given(encoded=audio, keep=torch.ones(1, 1, dtype=torch.bool), noise_level=level)
    with pytest.raises(ValueError, match="chunk 5 is given of an item of 2 chunks"):
        ask([45], Given(encoded=audio, keep=torch.tensor([[True, False, False, False, True]])))
    with pytest.raises(ValueError, match="keep of 3 items for 2"):
        ask([45, 45], Given(encoded=audio, keep=torch.zeros(3, 2, dtype=torch.bool)))


def test_given_frames_are_laid_where_their_chunks_are() -> None:
    stream = torch.arange(1.0, 9.0).view(1, 8, 1).expand(1, 8, 3)
    keep = torch.tensor([[True, False, True, False], [False, False, False, False]])
    known, where = lay_given(stream, keep, 2, torch.zeros(2, 8, 3))
    assert known[0, :, 0].tolist() == [1, 2, 0, 0, 5, 6, 0, 0]
    assert where[0].tolist() == [True, True, False, False, True, True, False, False]
    assert not known[1].any()
    assert not where[1].any()
    with pytest.raises(ValueError, match="has 4 frames, but frames up to 6"):
        lay_given(stream[:, :4], keep, 2, torch.zeros(2, 8, 3))
