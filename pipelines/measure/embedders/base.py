"""The interface of an embedder: mono audio in, one embedding per window out, and a record of what made them.

Shape letters: N samples, W windows, E embeddings per window, D embedding width, K classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ....core.device import PRECISIONS
from ....core.errors import ConfigError
from ....core.weights import hash_weights
from ..windows import DEFAULT_OVERLAP, check_overlap, spans


class Embedder(ABC):
    """A frozen network over fixed windows of audio. No randomness: the same audio gives the same embeddings."""

    name: ClassVar[str]  # as in the metric's name, fad_<name>
    sample_rate: int  # Hz, of the audio it takes
    window_samples: int  # of one window, at sample_rate
    preprocessing: str  # all that happens before the network, in words; part of the identity
    embeddings_per_window: int = 1  # E; W windows give W * E embeddings, in order of time
    overlap: float = DEFAULT_OVERLAP  # of neighboring windows, at least, as a share of a window
    compute_dtype: torch.dtype = torch.float32  # of matrix products and convolutions
    num_classes: ClassVar[int | None] = None  # K, of the network's classifier; None where it has none

    def __init__(self, network: nn.Module, dim: int, source: str):
        self.network = network.eval().requires_grad_(False)
        self.dim = dim  # D
        self.source = source  # where the weights came from; not part of the identity

    @classmethod
    def from_package(cls) -> Self:
        """Builds the embedder with the weights that it ships.

        Raises:
            ConfigError: it ships none.
        """
        raise ConfigError(f"{cls.__qualname__} ships no weights: give a checkpoint")

    @classmethod
    def from_checkpoint(cls, source: str | Path) -> Self:
        """Builds the embedder with the weights at `source`.

        Raises:
            ConfigError: it takes no checkpoint.
            CheckpointError: the checkpoint cannot be used.
        """
        raise ConfigError(f"{cls.__qualname__} takes no checkpoint: leave it out")

    @abstractmethod
    def windows(self, audio: Tensor) -> Tensor:
        """Mono audio [N] at `sample_rate` as the network's input, [W, ...], W >= 1.

        Windows lie end to end; what is left over behind the last whole one is not in them. Audio shorter than one
        window is repeated.
        """

    @abstractmethod
    def network_output(self, windows: Tensor) -> Tensor:
        """Embeddings [W * E, D] of windows on the network's device."""

    def overlapping_windows(self, audio: Tensor) -> Tensor:
        """Mono audio [N] as the network's input, [W, ...], in windows that overlap and cover it whole; see `spans`.

        With an overlap of 0, windows lie end to end, and what is left over behind the last one is not in them.
        """
        if not self.overlap:
            return self.windows(audio)
        return torch.cat([self.windows(span) for span in spans(audio, self.window_samples, self.overlap)])

    def set_overlap(self, overlap: float) -> None:
        """Sets how far neighboring windows overlap, as a share of a window.

        Raises:
            ConfigError: a share outside of 0..1, 1 excluded.
        """
        check_overlap(overlap)
        self.overlap = overlap

    @property
    def enough_windows(self) -> int:
        """Windows below which a set says little of its covariance: twice the width, of windows that share no audio."""
        return math.ceil(2 * self.dim / (1 - self.overlap))

    def class_logits(self, embeddings: Tensor) -> Tensor:
        """Computes the logits [W, K] of the network's classifier for embeddings [W, D] on its device."""
        raise ValueError(f"the embedder {self.name} has no classifier: use one that has, such as musicnn or yamnet")

    def embed_windows(self, windows: Tensor) -> Tensor:
        """Embeddings [W * E, D] float32 on the CPU of what `windows` gave, as one batch."""
        half = self.compute_dtype != torch.float32
        with torch.no_grad(), torch.autocast(self.device.type, self.compute_dtype, enabled=half):
            return self.network_output(windows.to(self.device)).float().cpu()

    def posteriors_of(self, embeddings: Tensor) -> Tensor:
        """Class probabilities [W, K] float32 on the CPU of embeddings [W, D], each class on its own (sigmoid).

        Raises:
            ValueError: this embedder's network has no classifier.
        """
        with torch.no_grad():
            return torch.sigmoid(self.class_logits(embeddings.to(self.device))).float().cpu()

    def embed(self, audio: Tensor, batch_size: int = 16) -> Tensor:
        """Embeddings [W * E, D] float32 of mono audio [N] at `sample_rate`.

        Raises:
            ValueError: another shape, empty, or NaN or inf in it.
        """
        self.check(audio)
        return torch.cat(
            [self.embed_windows(batch) for batch in torch.split(self.overlapping_windows(audio), batch_size)]
        )

    def check(self, audio: Tensor) -> None:
        """Raise ValueError unless `audio` is finite, [N], and not empty."""
        if audio.ndim != 1 or not audio.is_floating_point() or audio.numel() < 1:
            raise ValueError(f"audio must be float [samples], mono, not empty; got {audio.dtype} {tuple(audio.shape)}")
        if not torch.isfinite(audio).all():
            raise ValueError("audio holds NaN or inf")

    def identity(self) -> dict[str, Any]:
        """Returns all that embeddings depend on; two embedders of one identity give the same."""
        # fp32 is left out, so that embeddings that were kept before the others existed are found
        precision = PRECISIONS[self.compute_dtype]
        return {
            **({} if precision == "fp32" else {"precision": precision}),
            "embedder": self.name,
            "weights_sha256": self.weights_sha256,
            "sample_rate": self.sample_rate,
            "window_s": self.window_samples / self.sample_rate,
            "overlap": self.overlap,
            "preprocessing": self.preprocessing,
        }

    @cached_property
    def weights_sha256(self) -> str:
        """Hex SHA-256 of names and values of the weights, whichever file format they came in."""
        return hash_weights(self.network)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Embedder:
        """Move the network; returns self."""
        self.network.to(device)
        return self


def repeat_to(audio: Tensor, num_samples: int) -> Tensor:
    """Audio [N] over and over until it has `num_samples` samples; longer audio as it is."""
    if len(audio) >= num_samples:
        return audio
    return audio.repeat(math.ceil(num_samples / len(audio)))[:num_samples]
