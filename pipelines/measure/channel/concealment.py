"""Concealment of lost chunks: pure functions of latents.

Shape letters: K chunks, F latent frames of a chunk, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def repeat_last(latents: Tensor, lost: Tensor, fallback: Tensor) -> Tensor:
    """Replaces lost chunks by the last one that arrived, and at the start by the first one that arrived.

    Args:
        latents: [K, F, D]; the values of lost chunks are ignored.
        lost: [K] bool.
        fallback: [F, D], in place of every chunk if all are lost.

    Returns:
        Latents [K, F, D].

    Raises:
        ValueError: shapes that do not fit.
    """
    before, after = _neighbors(latents, lost, fallback)
    if lost.all():
        return fallback.expand_as(latents).clone()
    return latents[torch.where(before >= 0, before, after)]


def interpolate(latents: Tensor, lost: Tensor, fallback: Tensor) -> Tensor:
    """Replaces lost chunks by points on the line between the nearest chunks that arrived; at either end by the nearest.

    Frame f of a chunk lies between the frames f of those two. A chunk may be an unordered set, whose frames have a
    place but no time.

    Args:
        latents: as of `repeat_last`.
        lost: as of `repeat_last`.
        fallback: as of `repeat_last`.

    Returns:
        Latents [K, F, D].

    Raises:
        ValueError: shapes that do not fit.
    """
    before, after = _neighbors(latents, lost, fallback)
    if lost.all():
        return fallback.expand_as(latents).clone()
    count = len(latents)
    low, high = torch.where(before >= 0, before, after), torch.where(after < count, after, before)
    places = torch.arange(count, device=latents.device)
    share = ((places - low).clamp_min(0) / (high - low).clamp_min(1)).to(latents.dtype)[:, None, None]
    return torch.where(lost[:, None, None], torch.lerp(latents[low], latents[high], share), latents)


def _neighbors(latents: Tensor, lost: Tensor, fallback: Tensor) -> tuple[Tensor, Tensor]:
    """The last chunk that arrived up to each place (-1: none) and the first one from there on (K: none)."""
    if latents.ndim != 3 or lost.shape != (len(latents),) or fallback.shape != latents.shape[1:]:
        raise ValueError(
            f"latents [K, F, D], lost [K] and fallback [F, D] do not fit: got {tuple(latents.shape)}, "
            f"{tuple(lost.shape)} and {tuple(fallback.shape)}"
        )
    places = torch.arange(len(latents), device=latents.device)
    before = torch.where(lost, -1, places).cummax(0).values
    after = torch.where(lost, len(latents), places).flip(0).cummin(0).values.flip(0)
    return before, after


CONCEALMENTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "repeat": repeat_last,
    "interpolate": interpolate,
}
