"""Lost chunks: what stands in for them."""

from __future__ import annotations

import pytest
import torch

from latentune.pipelines.measure.channel.concealment import CONCEALMENTS, interpolate, repeat_last

FALLBACK = torch.full((1, 1), -7.0)


def run(way: str, lost: str) -> list[float]:
    """Chunks of one frame and one number, 0, 10, 20, ...; an x in `lost` marks one that is NaN on arrival."""
    gone = torch.tensor([letter == "x" for letter in lost])
    latents = 10.0 * torch.arange(len(lost), dtype=torch.float32)[:, None, None]
    latents[gone] = torch.nan
    return CONCEALMENTS[way](latents, gone, FALLBACK).flatten().tolist()


@pytest.mark.parametrize(
    ("lost", "repeated", "interpolated"),
    [
        ("....", [0, 10, 20, 30], [0, 10, 20, 30]),
        (".x..", [0, 0, 20, 30], [0, 10, 20, 30]),
        (".xx.", [0, 0, 0, 30], [0, 10, 20, 30]),
        ("x.xx", [10, 10, 10, 10], [10, 10, 10, 10]),
        ("xx.x.", [20, 20, 20, 20, 40], [20, 20, 20, 30, 40]),
        ("xxx", [-7, -7, -7], [-7, -7, -7]),
    ],
)
def test_what_is_played(lost: str, repeated: list[float], interpolated: list[float]) -> None:
    assert run("repeat", lost) == repeated
    assert run("interpolate", lost) == interpolated


def test_frames_keep_their_place_and_the_caller_its_tensor() -> None:
    latents = torch.arange(12.0).reshape(3, 2, 2)
    lost = torch.tensor([False, True, False])
    kept = latents.clone()
    assert torch.equal(repeat_last(latents, lost, latents[0])[1], latents[0])
    assert torch.equal(interpolate(latents, lost, latents[0])[1], latents[1]), "it lies on a line"
    assert torch.equal(latents, kept)


def test_shapes_that_do_not_fit_are_refused() -> None:
    latents, lost = torch.zeros(3, 2, 2), torch.zeros(3, dtype=torch.bool)
    for arguments in ((latents[0], lost, latents[0]), (latents, lost[:2], latents[0]), (latents, lost, latents)):
        for conceal in CONCEALMENTS.values():
            with pytest.raises(ValueError, match="do not fit"):
                conceal(*arguments)
