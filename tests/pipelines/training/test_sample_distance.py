"""The Fréchet distance of a generator's samples while it trains."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from latentune.core.errors import ConfigError
from latentune.core.settings import load_settings
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.train import train, train_config
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig

RATE = 48_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Audio, a tiny codec with random weights, and the audio encoded by it."""
    root = tmp_path_factory.mktemp("made")
    (root / "audio").mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        soundfile.write(root / "audio" / f"{number}.wav", rng.uniform(-0.3, 0.3, (RATE // 4, 2)), RATE)
    torch.manual_seed(0)
    CoDiCodec(CoDiCodecConfig.tiny()).save_pretrained(root / "codec")
    encode_dataset(
        EncodeConfig(source=str(root / "audio"), output=str(root / "data"), tokenizer=str(root / "codec"), device="cpu")
    )
    return {"audio": root / "audio", "codec": root / "codec", "data": root / "data"}


def distances(made: dict[str, Path], output: Path, *overrides: str) -> list[dict[str, Any]]:
    keys = [
        f"data.source={made['data']}",
        f"data.tokenizer={made['codec']}",
        "data.crop_s=0.17",
        f"output={output}",
        "steps=4",
        "batch_size=2",
        "fad_every=2",
        "validate_every=0",
        "preview_every=0",
        "device=cpu",
        f"fad.reference={made['audio']}",
        "fad.num=3",
        "fad.batch_size=2",
        "fad.seconds=0.1",
        "fad.prompts=[noise, hum]",
        *overrides,
    ]
    train(train_config(load_settings("train/dit-tiny", keys)))
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "valid_fad_musicnn" in line]


def test_the_distance_is_logged_at_intervals_and_repeats(made: dict[str, Path], tmp_path: Path) -> None:
    found = distances(made, tmp_path / "one")
    assert [line["step"] for line in found] == [2, 4]
    assert all(np.isfinite(line["valid_fad_musicnn"]) and line["valid_fad_musicnn"] > 0 for line in found)
    statistics = tmp_path / "real.safetensors"
    evaluate(
        EvaluateConfig(
            reference=str(made["audio"]),
            generated=str(made["audio"]),
            save_statistics=str(statistics),
            bootstrap=0,
            device="cpu",
        )
    )
    assert distances(made, tmp_path / "two", f"fad.reference={statistics}") == found, "and statistics do as well"


def test_what_it_needs_is_told(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.tokenizer"):
        distances(made, tmp_path / "x", "data.tokenizer=null")
    with pytest.raises(ConfigError, match=r"fad\.reference"):
        distances(made, tmp_path / "x", "fad.reference=''")
    with pytest.raises(ConfigError, match="at least one prompt"):
        distances(made, tmp_path / "x", "fad.num=0")
    with pytest.raises(FileNotFoundError, match="no audio at"):
        distances(made, tmp_path / "x", f"fad.reference={tmp_path / 'none'}")
