"""Sets of noise, a small embedder with a classifier, and the figures of their comparison."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.measure.embedders import Embedder
from latentune.pipelines.measure.embedders.base import repeat_to
from latentune.pipelines.measure.results import (
    Difference,
    Estimate,
    ResultsTable,
)

RATE, DIM = 8000, 4
ALL = ("fad", "fad-inf", "fad-per-file", "kad", "kid", "prdc", "kl", "kl-marginal", "audio-similarity")


class Tagger(Embedder):
    """Linear in windows of 0.1 s, each with two embeddings; its classes are a linear map of them."""

    name = "tagger"
    overlap = 0.0
    sample_rate = RATE
    window_samples = 800
    preprocessing = "none"
    num_classes = 3

    def __init__(self, seed: int = 0, embeddings_per_window: int = 1) -> None:
        network = nn.Sequential(nn.Linear(800, DIM * embeddings_per_window, bias=False), nn.Linear(DIM, 3))
        noise = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            nn.init.normal_(parameter, generator=noise)
        super().__init__(network, dim=DIM, source=f"seed {seed}")
        self.embeddings_per_window = embeddings_per_window
        self.num_embedded = 0

    def windows(self, audio: Tensor) -> Tensor:
        audio = repeat_to(audio, 800)
        return audio[: len(audio) // 800 * 800].reshape(-1, 800)

    def network_output(self, windows: Tensor) -> Tensor:
        self.num_embedded += len(windows)
        return self.network[0](windows).reshape(-1, DIM)

    def class_logits(self, embeddings: Tensor) -> Tensor:
        return self.network[1](embeddings)


class Texts:
    """Has an axis for each prompt, which is its number."""

    dim = DIM

    def embed(self, prompts: list[str]) -> Tensor:
        return torch.eye(DIM)[[int(prompt) for prompt in prompts]]

    def identity(self) -> dict[str, str]:
        return {"text_encoder": "fake"}


def write(folder: Path, num: int = 8, scale: float = 0.1, seed: int = 0, prefix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(num):
        audio = scale * rng.normal(size=RATE // 2 + 400 * number)
        soundfile.write(folder / f"{prefix}{number}.wav", audio, RATE, subtype="FLOAT")
    return folder


def three_sets(folder: Path) -> tuple[Path, Path, Path]:
    """Real audio, a near system and a far one, files of the same names."""
    return write(folder / "real"), write(folder / "near", scale=0.11, seed=1), write(folder / "far", scale=0.3)


def run(*places: Path | str, embedder: Embedder | None = None, **settings: Any) -> ResultsTable:
    reference, first, *others = map(str, places)
    config = EvaluateConfig(
        reference=reference, generated=first, systems=tuple(others), **{"bootstrap": 50, "device": "cpu", **settings}
    )
    return evaluate(config, embedder=embedder or Tagger())


def embeddings_of(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.name: Tagger().embed(torch.from_numpy(soundfile.read(path, dtype="float32")[0])).numpy()
        for path in sorted(folder.glob("*.wav"))
    }


def figures(result: ResultsTable, system: int = 0) -> dict[str, Estimate]:
    """The figures of the system of this number."""
    return {name: result.estimate(list(result.systems)[system], name) for name in result.figures}


def values(result: ResultsTable, system: int = 0) -> dict[str, float | None]:
    return {name: found.value for name, found in figures(result, system).items()}


def deltas(result: ResultsTable, system: int = 1) -> dict[str, Difference]:
    """Differences of the system of this number from the first, where both were measured."""
    names = list(result.systems)
    found = {name: result.difference(names[0], names[system], name) for name in result.figures}
    return {name: one for name, one in found.items() if one is not None}
