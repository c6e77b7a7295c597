"""Parts of recordings as references of examples: of the item itself, or of another one of the same voice."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ...core.errors import ConfigError
from ...generators.conditioning import Conditioner
from ..data.shards import LatentDataset, MixedDataset
from ..data.shards.embeddings import AUDIO
from ..data.shards.gather import gather, num_chunks_of
from .values import Draw

LATENTS = "latents"


def check_reference(dataset: LatentDataset | MixedDataset, name: str, column: str, conditioner: Conditioner) -> None:
    """Checks that a dataset can give the references of a condition.

    Args:
        dataset: that is trained on.
        name: of the condition.
        column: `audio` for a part of the item itself, or one whose values tell the voices.
        conditioner: that reads the references.

    Raises:
        ConfigError: no latents, latents of another width than the condition reads, or no such column.
    """
    if LATENTS not in dataset.streams:
        raise ConfigError(
            f"the condition {name} reads latents, and dataset {dataset.path} has none: encode it with them"
        )
    theirs: Any = conditioner.latent_dim  # takes_latents promises it
    if theirs != dataset.spec.latent_dim:
        raise ConfigError(
            f"the condition {name} has latent_dim {theirs}, the codec of {dataset.path} {dataset.spec.latent_dim}: set "
            f"model.config.conditioning.conditioners.{name}.latent_dim={dataset.spec.latent_dim}"
        )
    known = {found for part in dataset.parts for found in part.columns.metadata}
    if column != AUDIO and column not in known:
        raise ConfigError(
            f"dataset {dataset.path} has no column {column!r} for the condition {name} (its columns: "
            f"{', '.join(sorted(known)) or 'none'}): data.conditions.{name}={AUDIO} takes a part of each item itself, "
            "and a column of speakers a part of another item of the same one"
        )


class References:
    """Draws the references of items.

    Args:
        dataset: of the items.
        name: of the condition.
        column: as for `check_reference`.
        conditioner: that reads the references.
    """

    def __init__(self, dataset: LatentDataset, name: str, column: str, conditioner: Conditioner):
        self.dataset, self.name = dataset, name
        most: Any = conditioner.max_frames
        self.chunks = max(1, int(most) // dataset.spec.chunk_latents)
        self._members: list[np.ndarray] = []  # indices of the items of each voice
        self._voice = np.arange(len(dataset))  # number of each item's voice
        if column != AUDIO:
            voices: dict[str, list[int]] = {}
            for index, value in enumerate(dataset.columns.values(column, dataset.rows)):
                voices.setdefault(f"item {index}" if value is None else f"voice {value}", []).append(index)
            for number, members in enumerate(voices.values()):
                self._members.append(np.array(members))
                self._voice[members] = number

    def of(self, indices: np.ndarray, draw: Draw) -> list[Tensor]:
        """Returns latents [T, D] for items, by their indices in the dataset [B]."""
        chosen = self._others(indices, draw) if self._members else indices
        counts = num_chunks_of(self.dataset, self.dataset.places(chosen)[0])
        first = draw(f"{self.name} part", np.maximum(1, counts - self.chunks + 1))
        frames, mask = gather(self.dataset, LATENTS, chosen, first, self.chunks)
        return [part[:length] for part, length in zip(frames, mask.sum(1).tolist(), strict=True)]

    def _others(self, indices: np.ndarray, draw: Draw) -> np.ndarray:
        """Returns an item of the same voice for each, which is another one where there is another one."""
        members = [self._members[voice] for voice in self._voice[indices]]
        drawn = draw(f"{self.name} item", np.array([max(1, len(some) - 1) for some in members]))
        own = [int(np.searchsorted(some, index)) for some, index in zip(members, indices, strict=True)]
        places = [
            0 if len(some) == 1 else place + (place >= mine)
            for some, place, mine in zip(members, drawn.tolist(), own, strict=True)
        ]
        return np.array([some[place] for some, place in zip(members, places, strict=True)])
