"""What to play in place of chunks that never came. Pure functions of latents.

Shape letters: K chunks, F latent frames of a chunk, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def repeat_last(latents: Tensor, lost: Tensor, fallback: Tensor) -> Tensor:
    """Lost chunks become the last one that came; before the first one, that one.

    Args:
        latents: [K, F, D]; what stands in lost chunks has no say.
        lost: [K] bool.
        fallback: [F, D], in place of every chunk if all are lost.

    Raises:
        ValueError: shapes that do not fit.
    """
    before, after = _neighbours(latents, lost, fallback)
    if lost.all():
        return fallback.expand_as(latents).clone()
    return latents[torch.where(before >= 0, before, after)]


def interpolate(latents: Tensor, lost: Tensor, fallback: Tensor) -> Tensor:
    """Lost chunks lie on the line between their neighbours that came; at either end as `repeat_last`.

    Frame by frame: frame f of a chunk lies between frames f of the neighbours. A chunk may be an unordered set, whose
    frames have a place but no time. Arguments as of `repeat_last`.
    """
    before, after = _neighbours(latents, lost, fallback)
    if lost.all():
        return fallback.expand_as(latents).clone()
    count = len(latents)
    low, high = torch.where(before >= 0, before, after), torch.where(after < count, after, before)
    places = torch.arange(count, device=latents.device)
    share = ((places - low).clamp_min(0) / (high - low).clamp_min(1)).to(latents.dtype)[:, None, None]
    return torch.where(lost[:, None, None], torch.lerp(latents[low], latents[high], share), latents)


def _neighbours(latents: Tensor, lost: Tensor, fallback: Tensor) -> tuple[Tensor, Tensor]:
    """Last chunk that came up to each place (-1: none) and the first one from there on (K: none)."""
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
