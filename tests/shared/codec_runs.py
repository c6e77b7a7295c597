"""Short experiments on a codec for tests."""

from pathlib import Path

from latentune.pipelines.measure.codecs.config import ExperimentConfig


def config(folder: Path, output: Path | None = None, **values: object) -> ExperimentConfig:
    return ExperimentConfig(
        audio=str(folder),
        output=None if output is None else str(output),
        embedder="none",
        device="cpu",
        **{"num_players": 0, "references": (), **values},  # type: ignore[arg-type]
    )
