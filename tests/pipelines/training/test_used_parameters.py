"""Which parameters an objective reaches: `Objective.uses_all_parameters` says whether several processes must search
for unused ones in each step.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING, TOKEN_BINDING
from torch import nn

from latentune.core.config import build_config
from latentune.core.objective import AdversarialObjective, AudioBatch, Objective
from latentune.core.settings import load_settings
from latentune.generators.base import LatentBatch, LatentGenerator
from latentune.generators.conditions import Conditions
from latentune.generators.load import generator_class
from latentune.pipelines.training.objectives import build_objective
from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.load import tokenizer_class


def unused(module: nn.Module) -> list[str]:
    """Names of parameters that should learn but have no gradient."""
    return [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]


def generator(name: str, drop: float, **conditioners: Any) -> tuple[Any, Objective]:
    settings = load_settings(f"generators/{name}")
    cls = generator_class(settings["class_name"])
    values = {**settings["config"], "binding": TOKEN_BINDING if name.startswith("lm") else LATENT_BINDING}
    values["conditioning"]["conditioners"] |= conditioners
    model = cls(build_config(cls.config_class, values))
    assert isinstance(model, LatentGenerator)
    return model, build_objective(model, {"cond_drop_prob": drop})


@pytest.mark.parametrize("drop", [0.0, 1.0])
@pytest.mark.parametrize(("text", "label"), [("", None), ("noise", None), ("", "a"), ("noise", "a")])
@pytest.mark.parametrize("name", ["dit-tiny", "lm-tiny"])
def test_generators_reach_every_parameter_whatever_the_batch_holds(
    name: str, text: str, label: str | None, drop: float
) -> None:
    model, objective = generator(name, drop, label={"kind": "labels", "labels": ["a", "b"]})
    tokens = torch.randint(0, 6, (2, 4, 2))
    batch = LatentBatch(
        latents=torch.randn(2, 2, 3),
        latent_mask=None,
        tokens=tokens,
        token_mask=None,
        conditions=Conditions.of([text, ""], 1.0, [label, None]),
        ids=["a", "b"],
    )
    loss, _ = objective(model, batch, step=0, generator=torch.Generator().manual_seed(0))
    loss.backward()
    assert objective.uses_all_parameters
    assert unused(model) == []


def train_codec(name: str, *overrides: str, step: int = 0) -> tuple[Any, Objective]:
    """A codec and its objective after one backward pass of each of its networks."""
    settings = load_settings(f"train/{name}", ["data.source=none", *overrides])["model"]
    cls = tokenizer_class(settings["class_name"])
    model: Any = cls(build_config(cls.config_class, settings.get("config", {})))
    assert isinstance(model, AudioTokenizer)
    objective: Any = build_objective(model, settings["objective"])
    audio = 0.1 * torch.randn(2, model.spec.channels, objective.num_samples)
    batch, random = AudioBatch(audio=audio, ids=["a", "b"]), torch.Generator().manual_seed(0)
    model.train()
    if isinstance(objective, AdversarialObjective):
        loss, _, pair = objective.model_loss(model, batch, step=step, generator=random)
        loss.backward()
        if objective.critic is not None:
            assert all(p.grad is None for p in objective.critic.parameters())
            objective.critic_loss(objective.critic, pair)[0].backward()
            assert unused(objective.critic) == []
    else:
        objective(model, batch, step=step, generator=random)[0].backward()
    return model, objective


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("codicodec-tiny", []),
        ("melcodec-tiny", []),
        ("melcodec-tiny", ["model.objective.pitch_weight=0"]),
        ("taae-tiny", []),
        ("taae-tiny", ["model.objective.waveform_weight=0", "model.objective.stft_weight=0"]),
        ("neucodec-tiny", []),
        ("neucodec-tiny", ["model.config.predict_semantic=false"]),
        ("neucodec-tiny", ["model.objective.stage=decoder"]),
        ("neucodec-tiny", ["model.config.residual={num_codebooks: 2, codebook_size: 8}"]),
    ],
    ids=str,
)
def test_codecs_and_their_critics_reach_every_parameter(name: str, overrides: list[str]) -> None:
    model, objective = train_codec(name, *overrides)
    assert objective.uses_all_parameters
    assert unused(model) == []


@pytest.mark.parametrize("step", [0, 2])
def test_a_distilled_codec_reaches_every_parameter(tmp_path: Path, step: int) -> None:
    settings = load_settings("tokenizers/neucodec-tiny")
    cls = tokenizer_class("NeuCodec")
    cls(build_config(cls.config_class, settings["config"])).save_pretrained(tmp_path)
    model, objective = train_codec("neucodec-distill-tiny", f"model.objective.teacher={tmp_path}", step=step)
    assert objective.uses_all_parameters
    assert unused(model) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.objective.semantic_weight=0"],
        [f"model.objective.{name}_weight=0" for name in ("mel", "adversarial", "feature_matching")],
    ],
    ids=["no semantic term", "the semantic term alone"],
)
def test_a_part_without_a_term_of_the_loss_is_reported(overrides: list[str]) -> None:
    model, objective = train_codec("neucodec-tiny", *overrides)
    assert not objective.uses_all_parameters
    assert unused(model) != []
