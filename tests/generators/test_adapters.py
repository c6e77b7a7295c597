"""LoRA and DoRA adapters of both kinds of generators."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING, TOKEN_BINDING

from latentune.core.config import build_config
from latentune.core.errors import CheckpointError
from latentune.core.settings import load_settings
from latentune.generators.adapters import AdapterConfig, add_adapter, load_adapters, save_adapter, set_adapter_weights
from latentune.generators.base import LatentBatch
from latentune.generators.conditions import Conditions
from latentune.generators.load import generator_class, load_generator

pytest.importorskip("peft")
KINDS = ["dit-tiny", "lm-tiny"]


def new(name: str, **config: Any) -> Any:
    """A tiny generator whose output depends on all of its layers."""
    torch.manual_seed(0)
    settings = load_settings(f"generators/{name}")
    cls = generator_class(settings["class_name"])
    binding = TOKEN_BINDING if name == "lm-tiny" else LATENT_BINDING
    model: Any = cls(build_config(cls.config_class, {**settings["config"], "binding": binding, **config}))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.05)
    return model.eval()


def batch() -> LatentBatch:
    return LatentBatch(
        latents=torch.linspace(-1, 1, 24).view(2, 4, 3),
        latent_mask=None,
        tokens=torch.arange(32).view(2, 8, 2) % 6,
        token_mask=None,
        conditions=Conditions.of(["noise", ""], 1.0),
        ids=["a", "b"],
    )


@torch.no_grad()
def output(model: Any) -> torch.Tensor:
    items = batch()
    if model.stream == "tokens":
        return model(items.tokens, conditions=items.conditions)
    return model(items.latents, torch.tensor([0.3, 0.8]), conditions=items.conditions)


def train(model: Any, steps: int = 3) -> None:
    objective = model.objective_class()
    objective = objective(objective.config_class(), model.settings)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        loss, _ = objective(model, batch(), step=step, generator=torch.Generator().manual_seed(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def trained(name: str, folder: Path, base: Path, **options: Any) -> torch.Tensor:
    """Trains an adapter and saves it; returns the output of the adapted generator."""
    model = new(name)
    add_adapter(model, AdapterConfig(rank=2, **options))
    train(model)
    save_adapter(model, folder, str(base))
    return output(model)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_an_adapter_learns_alone_and_is_saved_apart(name: str, dora: bool, tmp_path: Path) -> None:
    base = new(name)
    base.save_pretrained(tmp_path / "base")
    model = new(name)
    add_adapter(model, AdapterConfig(rank=2, dora=dora))
    torch.testing.assert_close(output(model), output(base), msg="it changes nothing yet")
    learning = [key for key, weight in model.named_parameters() if weight.requires_grad]
    assert learning
    assert all(key.startswith(model.adapted_layers) and "lora_" in key for key in learning)
    adapted = trained(name, tmp_path / "adapter", tmp_path / "base", dora=dora)
    assert (adapted - output(base)).abs().max() > 1e-3
    loaded = new(name)
    load_adapters(loaded, {str(tmp_path / "adapter"): 1.0})
    torch.testing.assert_close(output(loaded), adapted)
    torch.testing.assert_close(output(load_generator(tmp_path / "adapter")), adapted)
    sizes = [sum(p.stat().st_size for p in (tmp_path / f).glob("*.safetensors")) for f in ("adapter", "base")]
    assert sizes[0] < sizes[1] / 4


@pytest.mark.parametrize("name", KINDS)
def test_adapters_are_stacked_and_weighted(name: str, tmp_path: Path) -> None:
    base = new(name)
    trained(name, tmp_path / "one", tmp_path)
    trained(name, tmp_path / "two", tmp_path, alpha=4, layers=("to_q", "to_out"))
    model = new(name)
    load_adapters(model, {str(tmp_path / "one"): 0.5, str(tmp_path / "two"): 1.0})
    both = output(model)
    set_adapter_weights(model, {"adapter_0": 0.5})
    alone = output(model)
    set_adapter_weights(model, {"adapter_0": 0.0, "adapter_1": 0.0})
    torch.testing.assert_close(output(model), output(base))
    single = new(name)
    load_adapters(single, {str(tmp_path / "one"): 0.5})
    torch.testing.assert_close(output(single), alone)
    assert not torch.allclose(both, alone, atol=1e-4)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rank must be at least 1"):
        AdapterConfig(rank=0)
    with pytest.raises(ValueError, match="no linear layer ends in 'to_nothing'"):
        add_adapter(new("dit-tiny"), AdapterConfig(layers=("to_nothing",)))
    with pytest.raises(CheckpointError, match=r"holds no adapter\.json"):
        load_adapters(new("dit-tiny"), {str(tmp_path): 1.0})
    trained("dit-tiny", tmp_path / "dit", tmp_path)
    with pytest.raises(
        CheckpointError, match="is the adapter of a DiffusionTransformer, and this generator is a TokenLM"
    ):
        load_adapters(new("lm-tiny"), {str(tmp_path / "dit"): 1.0})
    with pytest.raises(CheckpointError, match="with 64 inputs"):
        load_adapters(new("dit-tiny", width=32), {str(tmp_path / "dit"): 1.0})
    with pytest.raises(ValueError, match="no adapter 'adapter_7': it has none"):
        set_adapter_weights(new("dit-tiny"), {"adapter_7": 1.0})
    with pytest.raises(CheckpointError, match="holds no"):
        load_generator(tmp_path / "dit")  # its base holds no generator
