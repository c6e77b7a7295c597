from pathlib import Path

import pytest
import soundfile
import torch

RATE = 48_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of noise, two of them longer than a chunk of the tiny codec."""
    path = tmp_path_factory.mktemp("audio")
    generator = torch.Generator().manual_seed(0)
    for name, seconds in (("a", 0.3), ("b", 0.4), ("c", 0.02)):
        audio = 0.1 * torch.randn(round(RATE * seconds), 2, generator=generator)
        soundfile.write(path / f"{name}.wav", audio.numpy(), RATE, subtype="FLOAT")
    return path
