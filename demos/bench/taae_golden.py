"""Write the golden file of TAAE's networks: what the official classes compute on small models, window on, float32.

    PYTHONPATH=FOLDER python demos/bench/taae_golden.py tests/assets/taae_network_golden.safetensors

FOLDER is where the official package lies (see official_taae.py). Weights and input are functions of their names, by a
stream of numpy's that is frozen, so the file holds the outputs alone; the tests build the rest again from here.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentune.tokenizers.taae import TAAEConfig

# every kind of layer at a few frames: two heads and the released structure; three stages with Snake
GOLDEN_CONFIGS = {
    "released": TAAEConfig(width=256, depths=(1, 1), window=(5, 6)),
    "snake": TAAEConfig(width=128, depths=(1, 1, 1), strides=(1, 2, 2), window=(5, 6), use_snake=True),
}
GOLDEN_SAMPLES = 12800


def golden_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The value of an entry of the official state dict."""
    if key.endswith("rope.inv_freq"):
        return 10000.0 ** -(torch.arange(shape[0]) / shape[0])
    if key.endswith("norm.beta"):
        return torch.zeros(shape)
    noise = torch.from_numpy(np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)).float()
    if key.endswith((".gamma", "_norm.weight")):
        return 1 + 0.1 * noise
    if key.endswith("weight_g"):
        return 1 + 0.2 * noise
    if key.endswith(".scale"):
        return 0.4 + 0.1 * noise
    if key.endswith((".bias", ".alpha", ".beta")):
        return 0.2 * noise
    return noise * math.prod(shape[1:]) ** -0.5


def golden_state(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The official state dict of a golden model from its keys and shapes, which the golden file holds."""
    return {key: golden_tensor(key, tuple(shape)) for key, shape in shapes.items()}


def golden_audio() -> Tensor:
    """A signal [1, 1, N] of two tones and noise with a gap."""
    time = torch.arange(GOLDEN_SAMPLES, dtype=torch.float64) / 16000
    noise = torch.from_numpy(np.random.RandomState(0).standard_normal(GOLDEN_SAMPLES))
    audio = 0.2 * torch.sin(2 * torch.pi * 220 * time) + 0.1 * torch.sin(2 * torch.pi * 1760 * time) + 0.05 * noise
    audio[GOLDEN_SAMPLES // 2 :][:700] = 0
    return audio.float()[None, None]


@torch.no_grad()
def main() -> None:
    from official_taae import give_window, official_network
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, str] = {}
    for name, config in GOLDEN_CONFIGS.items():
        network = give_window(official_network(config, seed=0))
        own = {key: list(value.shape) for key, value in network.state_dict().items()}
        network.load_state_dict(golden_state(own), strict=True)
        z = network.encoder(network.pretransform.encode(golden_audio()))  # type: ignore[operator, union-attr]
        patches = network.decoder(torch.tanh(z))  # type: ignore[operator]
        tensors[f"{name}/z"] = z.transpose(1, 2).contiguous()
        tensors[f"{name}/audio"] = network.pretransform.decode(patches).contiguous()  # type: ignore[operator, union-attr]
        shapes[name] = json.dumps(own)
    save_file(tensors, arguments.output, metadata=shapes)


if __name__ == "__main__":
    main()
