"""A tiny codec, two short files and a broken one, and the dataset of them, for the tests of commands."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from command_line import call

from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig

RATE = 48000


@pytest.fixture(scope="session")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codec")
    CoDiCodec(CoDiCodecConfig.tiny()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for number in range(2):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, (RATE // 4, 2)), RATE)
    (folder / "broken.wav").write_bytes(b"not audio")
    return folder


@pytest.fixture(scope="session")
def dataset(codec_folder: Path, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "latents"
    result = call("encode", audio, folder, "--tokenizer", codec_folder, "shard_mb=1", "dtype=float32")
    assert "2 items" in result.stdout
    assert "1 left out" in result.stdout
    return folder
