"""A batch in which every frame is real reaches torch's attention without a mask tensor."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from fake_binding import LATENT_BINDING
from sampling import sample
from torch import Tensor

from latentune.generators.base import LatentBatch
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    conditioning=ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}}),
)


@pytest.fixture
def masks_given(monkeypatch: pytest.MonkeyPatch) -> list[Tensor | None]:
    """The mask of each call of torch's kernel."""
    given: list[Tensor | None] = []
    kernel: Callable[..., Tensor] = F.scaled_dot_product_attention

    def recorded(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **options: bool) -> Tensor:
        given.append(attn_mask)
        return kernel(q, k, v, attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    return given


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
@pytest.mark.parametrize(("lengths", "masked"), [([100, 100], False), ([100, 30], True)])
def test_sampling(lengths: list[int], masked: bool, guidance_scale: float, masks_given: list[Tensor | None]) -> None:
    model = DiffusionTransformer(CONFIG).eval()
    conditions = Conditions.of(["", ""], 1.0)
    sample(model, conditions, lengths, guidance_scale=guidance_scale, num_inference_steps=3, solver="euler")
    assert [mask is not None for mask in masks_given] == [masked] * 2 * 3


@pytest.mark.parametrize("masked", [False, True])
def test_training(masked: bool, masks_given: list[Tensor | None]) -> None:
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = not masked
    batch = LatentBatch(
        latents=torch.randn(2, 6, 3),
        latent_mask=mask,
        tokens=None,
        token_mask=None,
        conditions=Conditions.of(["", ""], 3.0),
        ids=["a", "b"],
    )
    objective = RectifiedFlowObjective(RectifiedFlowConfig(), CONFIG)
    objective(DiffusionTransformer(CONFIG), batch, step=0, generator=torch.Generator())
    assert [given is not None for given in masks_given] == [masked] * 2
