"""A codec, a generator, a condition, an objective and an embedder from outside the package do the whole work."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import third_party
import torch

from latentune.core.errors import ConfigError
from latentune.core.settings import load_settings
from latentune.pipelines.data.checkpoints import run_weights
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.evaluate import EvaluateConfig, evaluate
from latentune.pipelines.generation.load import build_pipeline, load_pipeline
from latentune.pipelines.sample import SampleConfig, sample_to_folder
from latentune.pipelines.train import train, train_config
from latentune.tokenizers.load import load_tokenizer

RATE = 8000


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of an importable module that latentune knows nothing of."""
    folder = tmp_path_factory.mktemp("site") / "their_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    shutil.copy(third_party.__file__, folder / "parts.py")
    sys.path.insert(0, str(folder.parent))
    yield "their_package.parts"
    sys.path.remove(str(folder.parent))


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    rows = []
    for number in range(4):
        tone = 0.3 * np.sin(np.arange(RATE // 2) * 2 * np.pi * (200 + 100 * number) / RATE)
        soundfile.write(folder / f"{number}.wav", tone, RATE)
        rows.append({"path": f"{number}.wav", "text": "tone " * number})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(values: dict[str, Any]) -> None:
    train(train_config(load_settings(None, (), {"batch_size": 2, "log_every": 1, "device": "cpu", **values})))


@pytest.fixture(scope="module")
def codec(package: str, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained codec."""
    output = tmp_path_factory.mktemp("codec") / "run"
    run(
        {
            "model": {
                "class_name": f"{package}:LinearCodec",
                "config": {"latent_dim": 3},
                "objective": {"kind": f"{package}:ReconstructionObjective", "weight": 2.0},
            },
            "data": {"source": str(audio)},
            "output": str(output),
            "steps": 3,
        }
    )
    return run_weights(output)


@pytest.fixture(scope="module")
def dataset(codec: Path, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "latents"
    encode_dataset(EncodeConfig(source=str(audio / "manifest.jsonl"), output=str(folder), tokenizer=str(codec)))
    return folder


@pytest.fixture(scope="module")
def generator(package: str, dataset: Path, codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a trained generator."""
    output, conditioner = tmp_path_factory.mktemp("generator") / "run", f"{package}:VowelConditioner"
    run(
        {
            "model": {
                "class_name": f"{package}:MeanGenerator",
                "config": {"conditioning": {"width": 4, "conditioners": {"vowels": {"kind": conditioner}}}},
                "objective": {"kind": f"{package}:MeanObjective"},
            },
            "data": {"source": str(dataset), "tokenizer": str(codec), "crop_s": 0.1, "conditions": {"vowels": "text"}},
            "output": str(output),
            "steps": 3,
            "preview_every": 3,
        }
    )
    return output


def test_a_saved_class_is_named_by_its_path_and_loads_again(package: str, codec: Path) -> None:
    assert json.loads((codec / "config.json").read_text())["_class_name"] == f"{package}:LinearCodec"
    loaded = load_tokenizer(codec)
    assert f"{type(loaded).__module__}:{type(loaded).__qualname__}" == f"{package}:LinearCodec"
    assert loaded.settings.latent_dim == 3


def test_all_of_them_sample_and_are_measured(
    package: str, generator: Path, codec: Path, audio: Path, tmp_path: Path
) -> None:
    assert list((generator / "previews").rglob("*.wav"))
    records = sample_to_folder(
        SampleConfig(
            pipeline=str(generator),
            output=str(tmp_path / "samples"),
            num=2,
            seconds=0.3,
            conditions={"vowels": "aeiou"},
            options={"loudness": 0.5},
            spectrograms=False,
            device="cpu",
        )
    )
    assert len(records) == 2
    result = evaluate(
        EvaluateConfig(reference=str(audio), generated=str(tmp_path / "samples"), embedder=f"{package}:LevelEmbedder")
    )
    assert np.isfinite(result.value)
    pipe = build_pipeline(str(codec), generator, tmp_path / "pipe")
    assert pipe.generator.trained_on.conditions == ("vowels",)
    loaded = load_pipeline(tmp_path / "pipe")
    one, other = (loaded(duration_s=0.1, conditions={"vowels": text}).latents for text in ("a", "aaaa"))
    assert one is not None
    assert other is not None
    assert not torch.equal(one, other)
    with pytest.raises(TypeError, match="no sampling option 'loudnes' of a MeanGenerator: did you mean 'loudness'"):
        loaded(duration_s=0.1, loudnes=1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model": {"class_name": "their_package.parts:LinearCodek"}},
            "did you mean 'LinearCodec'",
        ),
        ({"model": {"class_name": "their_package.part:LinearCodec"}}, "no module their_package.part"),
        ({"model": {"class_name": "their_package.parts:MeanConfig"}}, "not a subclass"),
        ({"model": {"class_name": "their_package.parts:LevelEmbedder"}}, "not a subclass"),
        ({"model": {"class_name": "LinearCodec"}}, "cannot be trained: .*or module:Class"),
    ],
)
def test_wrong_classes_are_refused_before_anything_is_read(package: str, values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run({"data": {"source": "nowhere"}, "output": "nowhere", "steps": 1, **values})


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({}, "LinearCodec has no training objective: name one in model.objective.kind"),
        ({"kind": "mse"}, "no training objective of LinearCodec 'mse'"),
        ({"kind": "their_package.parts:LinearCodec"}, "not a subclass"),
        ({"kind": 3}, "model.objective.kind must be a name or module:Class"),
        ({"kind": "their_package.parts:ReconstructionObjective", "wait": 1}, "did you mean 'weight'"),
    ],
)
def test_wrong_objectives_are_refused(
    package: str, audio: Path, tmp_path: Path, objective: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(
            {
                "model": {"class_name": f"{package}:LinearCodec", "objective": objective},
                "data": {"source": str(audio)},
                "output": str(tmp_path),
                "steps": 1,
            }
        )
