"""Every YAML that ships is built into what it configures, so that none can go stale."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from latentune.core.config import build_config
from latentune.core.errors import ConfigError
from latentune.generators.base import TokenizerBinding
from latentune.generators.load import generator_class
from latentune.tokenizers.load import tokenizer_class

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FOLDERS = ("tokenizers", "generators", "train", "evaluate")


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / folder).glob("*.yaml"))


def read(folder: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / folder / f"{name}.yaml").read_text())


def test_every_yaml_lies_in_a_folder_that_is_checked_here() -> None:
    assert {str(path.parent.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.y*ml")} <= set(FOLDERS)
    assert names("tokenizers")
    assert names("generators")


@pytest.mark.parametrize("name", names("tokenizers"))
def test_a_tokenizer_config_builds_its_network(name: str) -> None:
    values = read("tokenizers", name)
    cls = tokenizer_class(values["class"])
    config = build_config(cls.config_class, values["config"])
    with torch.device("meta"):  # sizes alone: the official one has 150 M parameters
        model = cls(config)
    assert model.spec.bitrate_bps > 0


def test_a_wrong_key_in_a_config_is_refused_with_the_nearest_one() -> None:
    values = read("tokenizers", "codicodec-tiny")
    cls = tokenizer_class(values["class"])
    with pytest.raises(ConfigError, match="did you mean 'head_dim'"):
        build_config(cls.config_class, {**values["config"], "heads_dim": 3})


@pytest.mark.parametrize("name", names("generators"))
def test_a_generator_config_builds_its_network(name: str) -> None:
    values = read("generators", name)
    tokenizer = tokenizer_class("CoDiCodec")
    with torch.device("meta"):
        spec = tokenizer(tokenizer.config_class.preset("codicodec-mini")).spec  # type: ignore[attr-defined]
    unit = (0.0,) * spec.latent_dim, (1.0,) * spec.latent_dim
    binding = TokenizerBinding(spec=spec, fingerprint="0" * 64, latent_mean=unit[0], latent_std=unit[1])
    cls = generator_class(values["class"])
    with torch.device("meta"):
        model = cls(build_config(cls.config_class, {**values["config"], "binding": binding}))
    assert model.stream in ("latents", "tokens")
    if name.endswith("-small"):
        size = sum(p.numel() for p in model.parameters())
        assert size <= 4.5e6, f"{name} has {size / 1e6:.1f} M parameters: too many to be shipped"
