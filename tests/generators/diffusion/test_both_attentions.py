"""A transformer that is trained with both kinds of attention in turns: it streams, and it fills gaps."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, LATENT_BINDING
from latent_batches import random_weights, seed
from sampling import sample
from torch import Tensor

from latentune.generators.base import LatentBatch, TrainedOn
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.diffusion.own_past import OwnPast
from latentune.generators.given import Given
from latentune.tokenizers.base import Encoded

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    max_frames=16,
    attention="both",
    block_chunks=2,
    conditioning=CONDITIONING,
    trained_on=TrainedOn(given=True, crop_s=1.6),
)
ASKED = Conditions.of([""], 1.0)
OPTIONS: dict[str, Any] = {"num_inference_steps": 2}


def same_weights(attention: Any) -> DiffusionTransformer:
    return random_weights(DiffusionTransformer(replace(CONFIG, attention=attention)))


def given(keep: list[bool]) -> Given:
    frames = 2 * len(keep)
    encoded = Encoded(
        latents=torch.randn(1, frames, 3, generator=seed(9)),
        tokens=torch.zeros(1, 2 * frames, 1, dtype=torch.int64),
        lengths_samples=torch.tensor([10 * frames]),
    )
    return Given(encoded=encoded, keep=torch.tensor([keep]))


def made(model: DiffusionTransformer, samples: int, **options: Any) -> Tensor:
    latents = sample(model, ASKED, [samples], **OPTIONS, **options).latents
    assert latents is not None
    return latents


def test_it_samples_and_streams_in_blocks_of_the_same_weights() -> None:
    both, causal = same_weights("both"), same_weights("chunk_causal")
    whole = made(both, 240)
    assert torch.equal(whole, made(causal, 240))
    assert not torch.equal(whole[:, :16], made(same_weights("full"), 160))
    stream = both.open_stream(ASKED, sampling=both.make_sampling(OPTIONS), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([stream.next_block() for _ in range(6)], 1), whole)
    start = given([True] * 3 + [False] * 5)
    assert torch.equal(made(both, 160, given=start), made(causal, 160, given=start))


@pytest.mark.parametrize("keep", [[True] * 3 + [False] * 3 + [True] * 2, [False] * 4 + [True] * 4])
def test_what_is_given_later_is_heard_with_full_attention(keep: list[bool]) -> None:
    gap = given(keep)
    filled = made(same_weights("both"), 160, given=gap)
    assert torch.equal(filled, made(same_weights("full"), 160, given=gap))
    with pytest.raises(ValueError, match="sees only the past"):
        made(same_weights("chunk_causal"), 160, given=gap)


class Recorder(torch.nn.Module):
    """Remembers whether it was handed a past."""

    def __init__(self) -> None:
        super().__init__()
        self.has_past: list[bool] = []

    def forward(self, noisy: Tensor, t: Any, **inputs: Any) -> Tensor:
        self.has_past.append("past" in inputs)
        return torch.zeros_like(noisy)


def batch() -> LatentBatch:
    return LatentBatch(
        latents=torch.randn(2, 16, 3, generator=seed(2)),
        latent_mask=None,
        tokens=None,
        token_mask=None,
        conditions=Conditions.of(["", ""], 1.0),
        ids=["a", "b"],
    )


def test_steps_are_trained_in_turns_by_their_numbers_and_validated_in_blocks() -> None:
    objective, model = RectifiedFlowObjective(RectifiedFlowConfig(full_share=0.25), CONFIG), Recorder()
    for number in range(200):
        objective(model, batch(), step=number, generator=seed(number))
    assert 0.15 < 1 - sum(model.has_past) / 200 < 0.35
    before, model.has_past = model.has_past, []
    for number in range(20):
        objective(model, batch(), step=number, generator=seed())
    assert model.has_past == before[:20]
    model.has_past = []
    with torch.no_grad():
        for number in range(20):
            objective(model, batch(), step=number, generator=seed())
    assert all(model.has_past)


def test_every_weight_gets_a_gradient_in_both_kinds_of_steps() -> None:
    for share in (1e-6, 1 - 1e-6):
        model = random_weights(DiffusionTransformer(CONFIG))
        config = RectifiedFlowConfig(full_share=share, past_noise=0.2, own_past=OwnPast(probability=1.0))
        RectifiedFlowObjective(config, CONFIG)(model, batch(), step=1, generator=seed())[0].backward()
        assert not [name for name, weight in model.named_parameters() if weight.grad is None]


def test_wrong_options_are_refused() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="choose the attention chunk_causal or full"):
            RectifiedFlowConfig(full_share=share)
    with pytest.raises(ValueError, match="must hold two blocks of 10 frames with attention both"):
        replace(CONFIG, block_chunks=5)


def test_edits_hear_as_much_around_a_gap_as_in_training() -> None:
    assert same_weights("both").longest_s == same_weights("full").longest_s is not None
    assert same_weights("chunk_causal").longest_s is None
