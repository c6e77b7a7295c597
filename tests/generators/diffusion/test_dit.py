"""The diffusion transformer as a network: masks, positions, conditions, saving."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_binding import LATENT_BINDING
from torch import Tensor

from latentune.core.config import build_config, config_to_dict
from latentune.core.errors import CheckpointError, ConfigError
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.load import load_generator

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    max_frames=32,
    conditioning=ConditioningConfig(
        width=8,
        conditioners={
            "text": {"kind": "bytes", "layers": 1, "heads": 2, "num_tokens": 2},
            "label": {"kind": "labels", "labels": ["rock", "jazz"]},
            "seconds": {"kind": "seconds"},
        },
    ),
)
ASKED = Conditions.of(["piano", "a"], [1.0, 2.0], ["rock", None])


def random_model(config: DiffusionTransformerConfig = CONFIG) -> DiffusionTransformer:
    """With every zero-initialised branch switched on."""
    generator = torch.Generator().manual_seed(1)
    model = DiffusionTransformer(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * (0.3 if weight.ndim > 1 else 1.0))
    return model


def noise(batch: int = 2, frames: int = 8) -> Tensor:
    return torch.randn(batch, frames, 3, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def velocity(model: DiffusionTransformer, x: Tensor, **options: object) -> Tensor:
    options.setdefault("conditions", ASKED)
    return model(x, torch.linspace(0.2, 0.8, len(x)), **options)


def test_a_fresh_model_predicts_zero_and_a_random_one_does_not() -> None:
    assert velocity(DiffusionTransformer(CONFIG), noise()).abs().max() == 0
    out = velocity(random_model(), noise())
    assert out.shape == (2, 8, 3)
    assert out.std() > 0.01


def test_padding_has_no_effect() -> None:
    model, x = random_model(), noise()
    mask = torch.arange(8) < torch.tensor([[8], [4]])
    base = velocity(model, x, mask=mask)
    other = velocity(model, torch.where(mask[..., None], x, 100.0), mask=mask)
    torch.testing.assert_close(base[mask], other[mask], atol=1e-5, rtol=1e-5)
    alone = model(x[1:, :4], torch.tensor([0.8]), conditions=Conditions.of(["a"], 2.0))
    torch.testing.assert_close(base[1, :4], alone[0], atol=1e-5, rtol=1e-4)
    assert (velocity(model, x)[1, :4] - base[1, :4]).abs().max() > 1e-3  # the mask is what does it


def test_only_whole_chunks_and_the_place_inside_a_chunk_are_positions() -> None:
    model = random_model()
    x = noise()
    swapped = x.unflatten(1, (4, 2)).flip(2).flatten(1, 2)
    back = velocity(model, swapped).unflatten(1, (4, 2)).flip(2).flatten(1, 2)
    assert (velocity(model, x) - back).abs().max() > 1e-3  # frames of a chunk are distinguished
    with torch.no_grad():
        model.frame_embedding.copy_(model.frame_embedding[:1].clone())
    back = velocity(model, swapped).unflatten(1, (4, 2)).flip(2).flatten(1, 2)
    torch.testing.assert_close(velocity(model, x), back, atol=1e-5, rtol=1e-4)  # by that embedding alone
    chunks = x.unflatten(1, (4, 2)).roll(1, 1).flatten(1, 2)
    rolled = velocity(model, chunks).unflatten(1, (4, 2)).roll(-1, 1).flatten(1, 2)
    assert (velocity(model, x) - rolled).abs().max() > 1e-3  # chunks are distinguished by rotary positions


def test_time_and_each_condition_matter() -> None:
    model, x = random_model(), noise()
    base = velocity(model, x)
    changes = {"text": ["violin", "a"], "label": ["jazz", None], "seconds": [(0.0, 5.0), (0.0, 2.0)]}
    for name, value in changes.items():
        moved = (velocity(model, x, conditions=ASKED.replaced(**{name: value})) - base).abs().amax((1, 2))
        assert moved[0] > 1e-4, name
        assert moved[1] < 1e-5, name
    assert (model(x, torch.tensor([0.9, 0.8]), conditions=ASKED) - base).abs().amax((1, 2))[0] > 1e-4


def test_dropped_conditions_are_those_not_given_and_encoded_ones_are_taken_as_they_are() -> None:
    model, x = random_model(), noise()
    dropped = velocity(model, x, drop_mask=torch.tensor([True, True]))
    torch.testing.assert_close(dropped, velocity(model, x, conditions=model.condition_encoder.null(ASKED)))
    encoded = model.condition_encoder(ASKED)
    torch.testing.assert_close(velocity(model, x, conditions=encoded), velocity(model, x))
    assert (dropped - velocity(model, x)).abs().max() > 1e-3


def test_masked_condition_tokens_have_no_effect() -> None:
    model, x = random_model(), noise()
    encoded = model.condition_encoder(ASKED)
    mask = torch.tensor([[True, False], [True, False]])
    loud = torch.where(mask[..., None], encoded.tokens, 50.0)
    base = velocity(model, x, conditions=replace(encoded, mask=mask))
    torch.testing.assert_close(velocity(model, x, conditions=replace(encoded, tokens=loud, mask=mask)), base)
    assert (base - velocity(model, x)).abs().max() > 1e-4


def test_a_model_without_conditions_and_with_single_frame_chunks_runs() -> None:
    spec = replace(LATENT_BINDING.spec, chunk_latents=1, chunk_tokens=2)
    plain = replace(
        CONFIG,
        binding=replace(LATENT_BINDING, spec=spec),
        conditioning=ConditioningConfig(width=8, conditioners={}),
    )
    model = random_model(plain)
    assert velocity(model, noise(frames=5)).shape == (2, 5, 3)
    assert model.blocks[0].cross_attention is None


def test_every_weight_gets_a_gradient() -> None:
    model = DiffusionTransformer(CONFIG)
    model(noise(), torch.tensor([0.1, 0.9]), conditions=Conditions.of(["", ""], 1.0)).sum().backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


def test_autocast_gives_nearly_the_same() -> None:
    model, x = random_model(), noise()
    with torch.autocast("cpu", torch.bfloat16):
        half = velocity(model, x)
    full = velocity(model, x)
    assert (half.float() - full).abs().mean() < 0.1 * full.abs().mean()


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = random_model()
    model.save_pretrained(tmp_path)
    again = load_generator(tmp_path)
    assert isinstance(again, DiffusionTransformer)
    assert again.settings == model.settings == CONFIG
    assert again.fingerprint() == model.fingerprint()
    torch.testing.assert_close(velocity(again, noise()), velocity(model, noise()), atol=0, rtol=0)
    assert build_config(DiffusionTransformerConfig, config_to_dict(CONFIG)) == CONFIG


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    random_model().save_pretrained(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot load DiffusionTransformer"):
        load_generator(tmp_path)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 8, 4), r"float \[B, T, 3\]"),
        (torch.zeros(2, 8, 3, dtype=torch.int64), "float"),
        (torch.zeros(8, 3), r"\[B, T, 3\]"),
        (torch.zeros(2, 7, 3), "whole chunks of 2"),
        (torch.zeros(2, 0, 3), "whole chunks of 2"),
        (torch.zeros(2, 34, 3), "34 latent frames are more than .* 32"),
        (torch.zeros(3, 8, 3), "3 items, but"),
    ],
)
def test_wrong_latents_are_refused(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        velocity(DiffusionTransformer(CONFIG), x)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 3}, "heads 3 must divide width 16"),
        ({"depth": 0}, "must be positive"),
        (
            {"binding": replace(LATENT_BINDING, latent_mean=(), latent_std=())},
            "each of the 3 latent channels, got 0 and 0",
        ),
        ({"binding": replace(LATENT_BINDING, latent_std=(1.0, 0.0, 1.0))}, "latent_std must be positive"),
    ],
)
def test_wrong_configs_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **wrong)
    with pytest.raises(ConfigError, match="did you mean 'heads'"):
        build_config(DiffusionTransformerConfig, {**config_to_dict(CONFIG), "head": 2})
