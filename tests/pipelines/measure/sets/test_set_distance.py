"""The distance of audio in memory from a reference that is embedded once."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from latentune.core.errors import MismatchError
from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.measure.sets.distance import ReferenceDistance

RATE = 16_000


def write(folder: Path, scale: float, seed: int) -> list[torch.Tensor]:
    """Three files of 6 s, of two windows each; returns them as stereo."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    audios = []
    for number in range(3):
        audio = (scale * rng.normal(size=6 * RATE)).astype(np.float32)
        soundfile.write(folder / f"{number}.wav", audio, RATE, subtype="FLOAT")
        audios.append(torch.from_numpy(audio).expand(2, -1))
    return audios


def test_it_is_the_distance_that_evaluate_measures_on_files(tmp_path: Path) -> None:
    write(tmp_path / "real", 0.1, 0)
    made = write(tmp_path / "made", 0.2, 1)
    statistics = tmp_path / "real.safetensors"
    config = EvaluateConfig(
        reference=str(tmp_path / "real"),
        generated=str(tmp_path / "made"),
        save_statistics=str(statistics),
        device="cpu",
    )
    expected = evaluate(config).value
    measure = ReferenceDistance(str(tmp_path / "real"))
    found = measure(made, RATE)
    assert found == {"fad_musicnn": pytest.approx(expected, rel=1e-4)}
    assert measure(iter(made), RATE) == found, "the reference is not changed by a measurement"
    assert ReferenceDistance(str(statistics))(made, RATE) == {"fad_musicnn": pytest.approx(expected, rel=1e-4)}
    with pytest.raises(MismatchError, match="embedder"):
        ReferenceDistance(str(statistics), embedder="yamnet")


def test_files_and_audio_are_limited_and_needed(tmp_path: Path) -> None:
    made = write(tmp_path / "real", 0.1, 0)
    measure = ReferenceDistance(str(tmp_path / "real"), max_files=1)
    assert measure.reference.num == 4
    with pytest.raises(ValueError, match="at least 2 embeddings, there are 0"):
        measure([], RATE)
    assert np.isfinite(measure(made[:1], RATE)["fad_musicnn"])
    with pytest.raises(FileNotFoundError, match="no audio at"):
        ReferenceDistance(str(tmp_path / "none"))
