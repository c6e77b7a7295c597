"""The locality probe: counts by hand, closed-form baselines, and two encoders of one quantiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from latentune.core.errors import AudioError, MismatchError
from latentune.pipelines.measure.channel.plots import locality_png
from latentune.pipelines.measure.channel.probe import locality, probe_encoders, uniform_within


def test_counts_by_hand() -> None:
    # digits, least significant first: 5 = (1, 1), 6 = (2, 1), 2 = (2, 0); 11 = (3, 2)
    result = locality([torch.tensor([[5], [11]])], [torch.tensor([[5], [6], [9]])], ((4, 3),))
    assert (result.num_frames, result.num_trimmed) == (2, 1)
    assert result.exact_tokens == 0.5
    first, second = result.confusions
    assert (first.shape, second.shape) == ((4, 4), (3, 3))
    assert (int(first[1, 1]), int(first[3, 2]), int(first.sum())) == (1, 1, 2)
    assert (int(second[1, 1]), int(second[2, 1])) == (1, 1)
    assert (result.exact_levels, result.within_one) == (0.5, 1.0)
    assert result.dimensions == [(0, 0), (0, 1)]


def test_the_baselines_in_closed_form() -> None:
    assert (uniform_within(4, 1), uniform_within(4, 0)) == (0.625, 0.25)
    assert [uniform_within(n, 1) for n in (2, 3, 11, 17)] == [(3 * n - 2) / n**2 for n in (2, 3, 11, 17)]


def test_independent_tokens_meet_the_baselines() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(4**8, (50_000, 1), generator=generator) for _ in range(2))
    result = locality([first], [second], ((4,) * 8,))
    assert result.uniform_within_one == 0.625
    assert result.within_one == pytest.approx(0.625, abs=0.005)
    assert result.independent_within_one == pytest.approx(0.625, abs=0.005)
    assert result.exact_levels == pytest.approx(0.25, abs=0.005)
    same = locality([first], [first], ((4,) * 8,))
    assert (same.exact_tokens, same.exact_levels, same.within_one) == (1, 1, 1)
    assert same.independent_within_one == pytest.approx(0.625, abs=0.005)


def test_two_encoders_of_one_quantiser(step_codec: Any, shifted_codec: Any, clips: Path, tmp_path: Path) -> None:
    """A shift of 0.2 moves a value by less than a level of 0.5: never two levels, seldom a whole token alike."""
    (clips / "broken.wav").write_bytes(b"no audio")
    calls: list[tuple[int, int]] = []
    result = probe_encoders(step_codec, shifted_codec, str(clips), progress=lambda done, n: calls.append((done, n)))
    assert result.within_one == 1.0
    assert 0.4 < result.exact_levels < 0.8
    assert result.exact_tokens < 0.3
    assert [Path(failure["path"]).name for failure in result.failures] == ["broken.wav"]
    assert calls[-1] == (3, 3)
    for confusion in result.confusions:
        assert confusion.tril(-1).sum() == 0, "values only rise"
    facts = json.loads(json.dumps(result.to_dict()))
    assert len(facts["dimensions"]) == 8
    assert facts["dimensions"][0]["within_one"] == 1.0
    locality_png(tmp_path / "l.png", result)
    assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_a_manifest_names_again_counts_once(step_codec: Any, shifted_codec: Any, clips: Path) -> None:
    (clips / "list.jsonl").write_text("".join(json.dumps({"path": f"{name}.wav"}) + "\n" for name in "aba"))
    twice, once = (probe_encoders(step_codec, shifted_codec, str(path)) for path in (clips / "list.jsonl", clips))
    assert twice.to_dict() == once.to_dict()


def test_bad_input(step_codec: Any, tiny_codec: Any, tokenless_codec: Any, clips: Path) -> None:
    with pytest.raises(MismatchError, match="needs one FSQ"):
        probe_encoders(step_codec, tiny_codec, str(clips))
    with pytest.raises(ValueError, match="no tokens"):
        probe_encoders(tokenless_codec, tokenless_codec, str(clips))
    with pytest.raises(ValueError, match="1 and 0 clips"):
        locality([torch.zeros(1, 1, dtype=torch.int64)], [], ((4,),))
    with pytest.raises(ValueError, match="no token frame"):
        locality([], [], ((4,),))
    with pytest.raises(ValueError, match=r"0\.\.3"):
        locality([torch.tensor([[4]])], [torch.tensor([[0]])], ((4,),))
    for path in clips.iterdir():
        path.write_bytes(b"no audio")
    with pytest.raises(AudioError, match="none of 2 audio files"):
        probe_encoders(step_codec, step_codec, str(clips))
