"""Windows of embedders: they cover the audio, overlap as asked, and what measures sets passes the share on."""

import math
from itertools import pairwise

import pytest
import torch

from latentune.core.errors import ConfigError
from latentune.pipelines.measure.embedders import load_embedder
from latentune.pipelines.measure.windows import check_overlap, spans


def test_windows_cover_the_audio_whole() -> None:
    audio = torch.arange(5.0)
    assert [x.tolist() for x in spans(audio, 3, 0.5)] == [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]
    assert spans(audio, 5, 0.5)[0] is audio
    assert len(spans(audio, 9, 0.5)) == 1


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_steps_are_even_and_no_longer_than_the_overlap_leaves(overlap: float) -> None:
    for num_samples in range(10, 60):
        windows = spans(torch.arange(num_samples), 10, overlap)
        assert torch.cat(windows).unique().tolist() == list(range(num_samples))
        steps = [int(b[0] - a[0]) for a, b in pairwise(windows)]
        assert all(step <= math.ceil(10 * (1 - overlap)) for step in steps)
        assert max(steps, default=0) - min(steps, default=0) <= 1


def test_a_clip_of_5_s_is_heard_whole_unless_windows_lie_end_to_end() -> None:
    audio = 0.1 * torch.randn(80_000, generator=torch.Generator().manual_seed(0))
    changed = torch.cat([audio[:64_000], 0.1 * audio[64_000:]])
    whole, apart = load_embedder("musicnn"), load_embedder("musicnn", overlap=0.0)
    assert (len(whole.embed(audio)), len(apart.embed(audio))) == (3, 1)
    assert not torch.allclose(whole.embed(audio), whole.embed(changed), atol=0.1)
    torch.testing.assert_close(apart.embed(audio), apart.embed(changed))
    torch.testing.assert_close(whole.embed(audio)[:1], apart.embed(audio[:47_872]))


def test_another_overlap_is_another_identity_and_needs_more_windows() -> None:
    whole, apart = load_embedder("musicnn"), load_embedder("musicnn", overlap=0.0)
    assert whole.identity() != apart.identity()
    assert (whole.enough_windows, apart.enough_windows) == (800, 400)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_an_impossible_overlap_is_refused(overlap: float) -> None:
    with pytest.raises(ConfigError, match="a share of 0 to 1"):
        check_overlap(overlap)
    with pytest.raises(ConfigError, match="a share of 0 to 1"):
        load_embedder("musicnn", overlap=overlap)
