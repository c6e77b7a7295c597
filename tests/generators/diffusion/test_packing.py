"""Items of different lengths computed end to end, without padding."""

from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING

from latentune.core.config import build_config
from latentune.core.errors import ConfigError
from latentune.core.settings import load_settings
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.generators.diffusion.past import Past
from latentune.pipelines.training.config import train_config

LENGTHS = (4, 8, 2)


def model(**config: Any) -> DiffusionTransformer:
    """A tiny transformer whose output depends on all of its layers."""
    torch.manual_seed(0)
    values = {**load_settings("generators/dit-tiny")["config"], "binding": LATENT_BINDING, **config}
    made: Any = DiffusionTransformer(build_config(DiffusionTransformerConfig, values))
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn(weight.shape) * 0.05)
    return made


def velocity(network: Any, t: torch.Tensor, packed: bool, past: bool) -> torch.Tensor:
    network.packed = packed
    random = torch.Generator().manual_seed(1)
    noisy, clean = (torch.randn(3, 8, 3, generator=random) for _ in range(2))
    mask = torch.arange(8) < torch.tensor(LENGTHS)[:, None]
    before = {"past": Past(latents=clean, t=FrameTimes.of(torch.zeros(3, 8)))} if past else {}
    made = network(noisy, t, conditions=Conditions.of(["a", "", "b c"], 1.0), mask=mask, **before)
    return made[mask]


CAUSAL = {"attention": "chunk_causal", "block_chunks": 1, "past_blocks": 2}


@pytest.mark.parametrize(
    ("config", "per_frame", "past"),
    [({}, False, False), ({}, True, False), (CAUSAL, False, False), (CAUSAL, True, True)],
)
def test_packed_items_have_the_velocity_and_the_gradient_of_padded_ones(
    config: dict[str, Any], per_frame: bool, past: bool
) -> None:
    network: Any = model(**config)
    t = torch.tensor([0.2, 0.5, 0.9])
    t = torch.rand(3, 8, generator=torch.Generator().manual_seed(2)) if per_frame else t
    gradients = []
    for packed in (False, True):
        network.zero_grad()
        made = velocity(network, t, packed, past)
        made.square().sum().backward()
        gradients.append((made.detach(), {name: p.grad for name, p in network.named_parameters()}))
    torch.testing.assert_close(gradients[1][0], gradients[0][0])
    for name, gradient in gradients[0][1].items():
        torch.testing.assert_close(gradients[1][1][name], gradient, atol=1e-4, rtol=1e-4, msg=name)


def test_packed_items_are_not_compiled() -> None:
    keys = ["data.source=none", "packed=true", "compile=true"]
    with pytest.raises(ConfigError, match="packed cannot be combined with compile"):
        train_config(load_settings("train/dit-tiny", keys))
