"""Audio, a tiny codec with random weights, and the dataset that it encodes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig

RATE = 48_000


def make_dataset(root: Path, seconds: Sequence[float]) -> dict[str, Path]:
    """Writes one item per duration.

    Args:
        root: an empty folder.
        seconds: duration of each item.

    Returns:
        The folders `audio`, `codec` and `data`.
    """
    audio = root / "audio"
    audio.mkdir()
    rng, rows = np.random.default_rng(0), []
    for number, duration in enumerate(seconds):
        soundfile.write(audio / f"{number}.wav", rng.uniform(-0.3, 0.3, (round(duration * RATE), 2)), RATE)
        rows.append({"path": f"{number}.wav", "text": f"noise {number}" * number, "label": "ab"[number % 2]})
    (audio / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.manual_seed(0)
    CoDiCodec(CoDiCodecConfig.tiny()).save_pretrained(root / "codec")
    encode_dataset(
        EncodeConfig(
            source=str(audio / "manifest.jsonl"), output=str(root / "data"), tokenizer=str(root / "codec"), device="cpu"
        )
    )
    return {"audio": audio, "codec": root / "codec", "data": root / "data"}
