"""The interface of a frozen encoder. Shape letters: S embeddings of a value, E embedding width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....core.weights import hash_weights


class FrozenEncoder(ABC):
    """Turns values into embeddings with networks that are not trained. The same value gives the same embeddings."""

    takes_audio: ClassVar[bool] = False  # whether a value may be audio, (Tensor [C, N], sample rate in Hz)

    def __init__(self, networks: Sequence[nn.Module], dim: int):
        self.networks = [network.eval().requires_grad_(False) for network in networks]
        self.dim = dim  # E

    @abstractmethod
    def embed(self, values: Sequence[Any]) -> list[Tensor]:
        """Returns the embeddings [S, E] float32 on the CPU of each value; S may differ.

        Raises:
            ValueError: a value that the encoder does not take, or an empty text.
        """

    @cached_property
    def weights_sha256(self) -> str:
        """Hex SHA-256 of names and values of the weights."""
        return "+".join(hash_weights(network) for network in self.networks)

    @property
    def device(self) -> torch.device:
        return next(self.networks[0].parameters()).device

    def to(self, device: torch.device | str) -> FrozenEncoder:
        """Moves the networks; returns self."""
        for network in self.networks:
            network.to(device)
        return self


def check_texts(values: Sequence[Any]) -> list[str]:
    """Returns the values as a list of texts; raises ValueError for one that is empty or not a text."""
    if wrong := [value for value in values if not isinstance(value, str) or not value.strip()]:
        raise ValueError(f"expected a text that is not empty, got {wrong[0]!r}")
    return list(values)
