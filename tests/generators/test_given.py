"""Items of which a part is given: any chunks for diffusion, the first ones for language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING, TOKEN_BINDING
from sampling import sample
from torch import Tensor, nn

from latentune.generators.base import SamplingConfig
from latentune.generators.conditioning import Conditioner, ConditionerConfig, ConditioningConfig, Encoding
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.given import Given
from latentune.generators.language import TokenLM, TokenLMConfig
from latentune.tokenizers.base import Encoded

NO_CONDITIONS = ConditioningConfig(width=8, conditioners={})
ASKED = Conditions.of(["", ""], 1.0)
KEEP = torch.tensor([[False, True, False, True, False], [True, False, False, False, True]])


@pytest.fixture
def dit() -> DiffusionTransformer:
    torch.manual_seed(0)
    config = DiffusionTransformerConfig(binding=LATENT_BINDING, width=16, depth=1, heads=2, conditioning=NO_CONDITIONS)
    model = DiffusionTransformer(config).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model


@pytest.fixture
def lm() -> TokenLM:
    torch.manual_seed(0)
    return TokenLM(
        TokenLMConfig(binding=TOKEN_BINDING, width=16, depth=1, heads=2, digit_width=8, conditioning=NO_CONDITIONS)
    ).eval()


def encoded(items: int) -> Encoded:
    generator = torch.Generator().manual_seed(1)
    return Encoded(
        latents=torch.randn(items, 10, 3, generator=generator),
        tokens=torch.randint(0, 6, (items, 20, 2), generator=generator),
        lengths_samples=torch.full((items,), 105),
    )


@pytest.mark.parametrize("items", [1, 2])
def test_diffusion_keeps_any_chunks_bit_for_bit_and_samples_the_rest(dit: DiffusionTransformer, items: int) -> None:
    audio = encoded(items)
    made = sample(dit, ASKED, [105, 105], given=Given(encoded=audio, keep=KEEP), num_inference_steps=3)
    free = sample(dit, ASKED, [105, 105], num_inference_steps=3)
    assert made.latents is not None
    assert free.latents is not None
    kept = KEEP.repeat_interleave(2, 1)
    assert torch.equal(made.latents[kept], audio.latents.expand(2, -1, -1)[kept])
    assert not torch.isclose(made.latents[~kept], audio.latents.expand(2, -1, -1)[~kept]).any()
    assert (made.latents[~kept] - free.latents[~kept]).abs().max() > 1e-3  # it hears what is given


def test_a_language_model_keeps_the_first_chunks_alone(lm: TokenLM) -> None:
    audio = encoded(2)
    first = torch.tensor([[True, True, False], [False, False, False]])
    made = sample(lm, ASKED, [105, 105], given=Given(encoded=audio, keep=first))
    assert made.tokens is not None
    assert torch.equal(made.tokens[0, :8], audio.tokens[0, :8])
    assert not torch.equal(made.tokens[0, 8:], audio.tokens[0, 8:])
    assert not torch.equal(made.tokens[1], audio.tokens[1])
    with pytest.raises(ValueError, match="only the first chunks of an item can be given"):
        sample(lm, ASKED, [105, 105], given=Given(encoded=audio, keep=KEEP))


def test_options_of_another_kind_of_generator_are_refused(dit: DiffusionTransformer, lm: TokenLM) -> None:
    with pytest.raises(TypeError, match="a TokenLM takes a TokenSampling, got DiffusionSampling"):
        lm.sample(ASKED, torch.tensor([10, 10]), sampling=dit.make_sampling({}))
    with pytest.raises(TypeError, match="takes a DiffusionSampling, got SamplingConfig"):
        dit.sample(ASKED, torch.tensor([10, 10]), sampling=SamplingConfig())


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_a_guidance_scale_without_meaning_is_refused(dit: DiffusionTransformer, scale: float) -> None:
    with pytest.raises(ValueError, match="guidance_scale must be 0 or more"):
        dit.make_sampling({"guidance_scale": scale})


class CurveConditioner(Conditioner):
    """A number per latent frame, such as a loudness curve."""

    gives_frames = True

    def __init__(self, width: int, config: ConditionerConfig):
        super().__init__(width, config)
        self.network = nn.Linear(1, width)

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        return {"curve": torch.tensor(values)[..., None]}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        return Encoding(frames=self.network(prepared["curve"]).masked_fill(drop[:, None, None], 0.0))


def test_a_condition_of_each_frame_acts_on_its_frame_and_not_on_tokens() -> None:
    kind = {"kind": f"{CurveConditioner.__module__}:CurveConditioner"}
    conditioning = ConditioningConfig(width=8, conditioners={"curve": kind})
    torch.manual_seed(0)
    model = DiffusionTransformer(
        DiffusionTransformerConfig(binding=LATENT_BINDING, width=16, depth=1, heads=2, conditioning=conditioning)
    )
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    x, t = torch.randn(1, 4, 3), torch.tensor([0.5])
    flat, step = (Conditions(values={"curve": [curve]}) for curve in ([0.0] * 4, [0.0, 0.0, 0.0, 1.0]))
    moved = (model(x, t, conditions=step) - model(x, t, conditions=flat)).abs().amax((0, 2))
    assert moved[3] > 1e-3
    assert moved.argmax() == 3
    with pytest.raises(ValueError, match="conditions of 3 frames for 4 latent frames"):
        model(x, t, conditions=Conditions(values={"curve": [[0.0] * 3]}))
    with pytest.raises(ValueError, match="cannot use conditions that change within an item"):
        TokenLM(TokenLMConfig(binding=TOKEN_BINDING, width=16, depth=1, heads=2, conditioning=conditioning))
