"""The step of a diffusion transformer as a graph is what sampling computes: with spread symbols, and behind a past."""

from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, LATENT_BINDING

from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.diffusion.past import FrameCache

SPOKEN = ConditioningConfig(
    width=8, conditioners={"transcript": {"kind": "characters", "spread": True}, "seconds": {"kind": "seconds"}}
)


def transformer(**changes: Any) -> DiffusionTransformer:
    torch.manual_seed(0)
    options: dict[str, Any] = {"conditioning": CONDITIONING, "max_frames": 64, **changes}
    model = DiffusionTransformer(
        DiffusionTransformerConfig(binding=LATENT_BINDING, width=16, depth=2, heads=2, **options)
    ).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 1.0))
    return model


@torch.no_grad()
def test_symbols_are_spread_over_the_frames_of_the_graph() -> None:
    model = transformer(conditioning=SPOKEN)
    [graph] = model.graphs()
    inputs = graph.make_inputs(8)
    assert list(inputs) == ["latents", "times", "condition", "spread", "spread_weights"]
    spoken = model.condition_encoder(Conditions.of(["", ""], 1.0).replaced(transcript=["a longer text", "no"]))
    wanted = model(inputs["latents"], inputs["times"], conditions=spoken)
    given = spoken.global_vector, spoken.spread, spoken.spread_weights
    made = graph.network(inputs["latents"], inputs["times"], *given)
    torch.testing.assert_close(made, wanted)
    others = graph.network(inputs["latents"], inputs["times"], given[0], given[1].flip(0), given[2])  # type: ignore[union-attr]
    assert (others - made).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("past_blocks", [None, 1])
def test_a_block_behind_given_keys_is_the_block_behind_the_cache(past_blocks: int | None) -> None:
    model = transformer(attention="chunk_causal", block_chunks=2, past_blocks=past_blocks)
    [graph] = model.graphs()
    assert graph.outputs == ("velocity", "own_keys", "own_values")
    random = torch.Generator().manual_seed(1)
    clean, noisy = (torch.randn(2, 16, 3, generator=random) for _ in range(2))
    encoded = model.condition_encoder(Conditions.of(["a", "b"], 1.0))
    asked = encoded.global_vector, encoded.tokens, encoded.full_mask()
    block, window = model.settings.block_frames, model.settings.window_blocks * model.settings.block_frames
    cache = FrameCache(model.settings, 2, torch.float32, torch.device("cpu"))
    keys, values = (torch.randn(2, 2, 2, 24, 8, generator=random) for _ in range(2))  # what is not seen is any number
    for first in range(0, 16, block):
        part, t = slice(first, first + block), torch.full((2, block), 0.7)
        cache.move_on()
        wanted = model(noisy[:, part], t, conditions=encoded, cache=cache)
        model(clean[:, part], torch.zeros(2), conditions=encoded, cache=cache, store=True)
        slots = torch.arange(24)
        seen = ((slots < first) & (slots >= first - window)).float().expand(2, -1)
        past = torch.tensor([first]), seen, keys, values
        made, _, _ = graph.network(noisy[:, part], t, *asked, *past)
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-4)
        _, keys[:, :, :, part], values[:, :, :, part] = graph.network(
            clean[:, part], torch.zeros(2, block), *asked, *past
        )
