"""The Fréchet distance of audio in memory from a reference that is embedded once, for measuring during training.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ...data.audio.convert import resample
from ..embedders import load_embedder
from ..metrics.frechet import GaussianStatistics, frechet_distance
from .config import STATISTICS_SUFFIX, EvaluateConfig
from .gather import gather, load_statistics
from .sources import open_source

logger = logging.getLogger(__name__)


class ReferenceDistance:
    """Measures the distance of audio from one reference.

    Args:
        reference: audio file, folder, manifest or dataset, or saved statistics (.safetensors).
        where: metadata values that the rows of a manifest must have.
        max_files: files of the reference to use, spread evenly over the files by name; None uses all.
        embedder: name of the embedder.
        checkpoint: weights of an embedder that ships none.

    Raises:
        FileNotFoundError, ValueError: no reference audio.
        MismatchError: saved statistics of another embedder.
    """

    def __init__(
        self,
        reference: str,
        *,
        where: dict[str, Any] | None = None,
        max_files: int | None = None,
        embedder: str = "musicnn",
        checkpoint: str | None = None,
    ):
        self.embedder = load_embedder(embedder, checkpoint=checkpoint)
        if reference.endswith(STATISTICS_SUFFIX):
            found, _ = load_statistics(reference, self.embedder)
        else:
            settings = EvaluateConfig(reference=reference, generated="samples", max_files=max_files)
            found, _ = gather(open_source(reference, where or None), reference, settings, self.embedder)
        self.reference = found.statistics
        logger.info("fad_%s against %d windows of %s", self.embedder.name, self.reference.num, reference)

    def __call__(self, audios: Iterable[Tensor], sample_rate: int) -> dict[str, float]:
        """Returns the distance of audio [C, N] at `sample_rate` Hz as `fad_<embedder>`."""
        statistics = GaussianStatistics.empty(self.embedder.dim, self.reference.identity)
        for audio in audios:
            mono = resample(audio.mean(0, keepdim=True), sample_rate, self.embedder.sample_rate)
            statistics.update(self.embedder.embed(mono[0]))
        return {f"fad_{self.embedder.name}": frechet_distance(self.reference, statistics)}
