"""The official TAAE classes (PyPI `stable-audio-tools` 0.0.18) as a peer: built at any size with seeded random weights.

Used by the benchmark. The package's own requirements cannot be installed with ours, and its codec needs little of
them: install it with `pip install --no-deps stable-audio-tools==0.0.18 alias-free-torch==0.0.6 einops-exts`. What it
imports for other models is put there as empty modules.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from latentune.tokenizers.taae import TAAEConfig

PACKAGE = "stable_audio_tools"
MOST_STUBS = 20  # modules that the package may lack


class _Stub(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def official_modules() -> Any:
    """The module `stable_audio_tools.models.autoencoders`.

    Raises:
        ImportError: the package is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ImportError("no official TAAE: pip install --no-deps stable-audio-tools==0.0.18 and see this file's head")
    for _ in range(MOST_STUBS):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return importlib.import_module(f"{PACKAGE}.models.autoencoders")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith(PACKAGE):
                raise
            sys.modules[error.name] = _Stub(error.name)
            for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
                del sys.modules[name]
    raise ImportError(f"{PACKAGE} asks for more than {MOST_STUBS} modules that are not installed")


def official_config(config: TAAEConfig) -> dict[str, Any]:
    """`config` in the official format."""
    side = {
        "channels": config.width,
        "c_mults": [1] * len(config.depths),
        "strides": list(config.strides),
        "transformer_depths": list(config.depths),
        "latent_dim": config.latent_dim,
        "use_snake": config.use_snake,
        "sliding_window": list(config.window),
        "checkpointing": False,
        "conformer": False,
        "layer_scale": True,
        "use_dilated_conv": False,
    }
    levels = config.bottleneck.levels
    return {
        "model_type": "autoencoder",
        "sample_rate": config.sample_rate,
        "audio_channels": config.channels,
        "model": {
            "encoder": {"type": "taae", "config": {"in_channels": config.patch_width, **side}},
            "decoder": {"type": "taae", "config": {"out_channels": config.patch_width, **side}},
            "bottleneck": {"type": "dithered_fsq", "config": {"dim": len(levels), "levels": levels[0]}},
            "pretransform": {
                "type": "patched",
                "config": {"channels": config.channels, "patch_size": config.patch_samples},
            },
            "latent_dim": config.latent_dim,
            "downsampling_ratio": config.hop_samples,
            "io_channels": config.channels,
        },
    }


def official_network(config: TAAEConfig, seed: int) -> nn.Module:
    """The official network with seeded random weights; its layer scales are large enough to let every layer count."""
    modules = official_modules()
    torch.manual_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        network = modules.create_autoencoder_from_config(official_config(config)).eval()
    for name, parameter in network.named_parameters():
        if name.endswith(".scale"):
            nn.init.normal_(parameter, std=0.3)
    return network


def save_official(network: nn.Module, config: TAAEConfig, folder: Path) -> None:
    """Write weights and config as the official release has them."""
    from safetensors.torch import save_file

    save_file(
        {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()},
        folder / "model.safetensors",
    )
    (folder / "model_config.json").write_text(json.dumps(official_config(config)))


def give_window(network: nn.Module) -> nn.Module:
    """Let the official attention see its window also without flash-attn, which would drop it; returns the network.

    Its own way through torch's scaled dot product attention is off on a CPU; it is switched on here, and gets the
    window as a mask, made once for each length.
    """
    masks: dict[tuple[int, int, int], torch.Tensor] = {}

    def attend_within(window: tuple[int, int]) -> Callable[..., torch.Tensor]:
        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: Any) -> torch.Tensor:
            length = q.shape[-2]
            if (length, *window) not in masks:
                distance = torch.arange(length)[None] - torch.arange(length)[:, None]
                masks[length, *window] = (distance >= -window[0]) & (distance <= window[1])
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, masks[length, *window])

        return attend

    attentions = [module for module in network.modules() if type(module).__name__ == "Attention"]
    assert attentions, "the official package has renamed its attention"
    for module in attentions:
        before, after = module.sliding_window  # type: ignore[misc]
        module.use_pt_flash, module.flash_attn = True, attend_within((before, after))  # type: ignore[assignment]
    return network
