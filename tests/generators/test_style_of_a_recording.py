"""A generator that is trained on CLAP's embeddings of its recordings takes its style from another recording."""

from pathlib import Path
from typing import Any

import pytest
import tiny_encoders
import torch
from torch import Tensor

from latentune.generators.base import LatentBatch, TokenizerBinding
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditioning.frozen import FrozenSource, load_frozen
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)

RATE, SECONDS, ITEMS = 8_000, 1.0, 12  # of each kind


def recording(kind: int, number: int) -> Tensor:
    """A hum of some pitch (kind 0) or a hiss of some level (kind 1), [1, N]."""
    random = torch.Generator().manual_seed(100 * kind + number)
    t = torch.arange(int(RATE * SECONDS)) / RATE
    drawn = float(torch.rand((), generator=random))
    noise = torch.randn(len(t), generator=random)
    sound = (0.2 + 0.1 * drawn) * noise if kind else 0.4 * torch.sin(500 * (1 + drawn) * t) + 0.002 * noise
    return sound[None]


@torch.no_grad()
def latents_of(codec: Any, audio: Tensor) -> Tensor:
    found: Tensor = codec.encode(audio[None], RATE).latents[0]
    return found


def train(codec: Any, embeddings: list[Tensor], latents: list[Tensor], clap: Path, steps: int) -> DiffusionTransformer:
    """A tiny transformer that gets nothing but the embedding of each recording, dropped now and then."""
    stacked = torch.cat(latents)
    binding = TokenizerBinding(
        spec=codec.spec,
        fingerprint="f" * 64,
        latent_mean=tuple(stacked.mean(0).tolist()),
        latent_std=tuple(stacked.std(0).clamp_min(1e-3).tolist()),
    )
    conditioning = ConditioningConfig(width=16, conditioners={"style": {"kind": "clap", "checkpoint": str(clap)}})
    config = DiffusionTransformerConfig(binding=binding, width=32, depth=2, heads=2, conditioning=conditioning)
    torch.manual_seed(0)
    model, generator = DiffusionTransformer(config), torch.Generator().manual_seed(0)
    objective = RectifiedFlowObjective(RectifiedFlowConfig(), config)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(steps):
        rows = torch.randint(len(latents), (12,), generator=generator).tolist()
        batch = LatentBatch(
            latents=torch.stack([latents[row] for row in rows]),
            latent_mask=None,
            tokens=None,
            token_mask=None,
            conditions=Conditions(values={"style": [embeddings[row] for row in rows]}),
            ids=[str(row) for row in rows],
        )
        loss, _ = objective(model, batch, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def sampled(model: Any, style: list[Any]) -> Tensor:
    """The mean latent [B, D] of samples with these styles, the noise of which is the same for every call."""
    made = model.sample(
        Conditions(values={"style": style}),
        torch.full((len(style),), int(RATE * SECONDS)),
        sampling=model.make_sampling({"num_inference_steps": 12}),
        generator=torch.Generator().manual_seed(1),
    )
    found: Tensor = made.latents.mean(1)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_style_follows_the_recording_that_is_asked_with(tiny_melcodec: Any, tmp_path: Path) -> None:
    clap = tiny_encoders.save_text_encoder("clap", tmp_path)
    frozen = load_frozen(FrozenSource.parse(f"clap:{clap}"))
    audio = [recording(kind, number) for kind in (0, 1) for number in range(ITEMS)]
    latents = [latents_of(tiny_melcodec, one) for one in audio]
    embeddings = [found[0] for found in frozen.embed([(one, RATE) for one in audio])]
    centres = torch.stack([torch.cat(latents[part]).mean(0) for part in (slice(ITEMS), slice(ITEMS, None))])
    model = train(tiny_melcodec, embeddings, latents, clap, steps=250)

    def kinds_of(styles: list[Any]) -> list[int]:
        scale = torch.tensor(model.binding.latent_std)
        return torch.cdist(sampled(model, styles) / scale, centres / scale).argmin(1).tolist()  # type: ignore[no-any-return]

    # other recordings of both kinds, as audio and as stored embeddings
    others = [(recording(kind, 50 + number), RATE) for kind in (0, 1) for number in range(6)]
    wanted = [kind for kind in (0, 1) for _ in range(6)]
    found = kinds_of(others)
    assert sum(a == b for a, b in zip(found, wanted, strict=True)) >= 11
    assert kinds_of([embedded[0] for embedded in frozen.embed(others)]) == found
    assert sum(kinds_of(others[::-1])[:6]) >= 5  # the same noise with the other kind
    # a text is a point of the same space
    text = frozen.embed(["a dog"])[0]
    torch.testing.assert_close(sampled(model, ["a dog"]), sampled(model, [text]), atol=1e-4, rtol=1e-4)
