"""The official CoDiCodec package (PyPI `codicodec` 0.1.2) as a peer: built at any size with seeded random weights.

Needs the extra `peers`. Used by the benchmark and by tests marked `peer`; run as a script it writes the golden file
that the ordinary tests compare with:

    python demos/bench/official_codicodec.py tests/assets/codicodec_golden.safetensors
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentune.tokenizers.codicodec.config import CoDiCodecConfig
from latentune.tokenizers.codicodec.noise import PROMPT_DRAW

RESAMPLING_CODES = {(2, 2): 0, (4, 1): 1, (2, 1): 2, (1, 2): 3}

# small enough for a golden file of a few hundred kB, and with every kind of layer of the official network
GOLDEN_CONFIG = CoDiCodecConfig(
    window_samples=128,
    stft_hop_samples=64,
    chunk_frames=16,
    edge_padding=False,
    conv_channels=(8, 8, 16, 32),
    conv_blocks=(2, 1, 1, 1),
    head_dim=16,
    encoder_blocks=2,
    upsampler_blocks=2,
    decoder_blocks=2,
    num_summaries=8,
    num_registers=2,
    noise_channels=16,
    latents_per_chunk=4,
)


def official_modules(config: CoDiCodecConfig) -> tuple[Any, Any]:
    """The official `models` and `audio` modules, freshly imported with the hyperparameters of `config`."""
    environment = dict(os.environ)
    hparams = importlib.reload(importlib.import_module("codicodec.hparams"))
    # importing the package imports all of it: what has read the hyperparameters is imported once more after the change
    for name in [name for name in sys.modules if name.startswith("codicodec.") and name != "codicodec.hparams"]:
        del sys.modules[name]
    base = config.conv_channels[0]
    hparams.mixed_precision = False  # its CPU path would autocast to fp16
    hparams.hop = config.stft_hop_samples
    hparams.stereo, hparams.stft_channels = config.channels == 2, config.spectrum_channels
    hparams.dim, hparams.head_dim = config.width, config.head_dim
    hparams.heads, hparams.mlp_mult = config.width // config.head_dim, config.mlp_ratio
    hparams.num_layers, hparams.num_layers_encoder = config.decoder_blocks, config.encoder_blocks
    hparams.cond_channels = config.noise_channels
    hparams.num_latents, hparams.num_more_latents = config.num_summaries, config.num_registers
    hparams.fsq_levels, hparams.bottleneck_channels = list(config.levels), len(config.levels)
    hparams.frontend_base_channels = base
    hparams.frontend_multipliers_list = [width // base for width in config.conv_channels]
    hparams.frontend_layers_list = hparams.frontend_encoder_layers_list = list(config.conv_blocks)
    hparams.frontend_freq_downsample_list = [RESAMPLING_CODES[factor] for factor in config.resampling]
    hparams.spec_length, hparams.data_length = config.chunk_frames, config.num_patches
    models = importlib.import_module("codicodec.models")
    audio = importlib.import_module("codicodec.audio")
    os.environ.clear()
    os.environ.update(environment)  # importing the package moves the compiler's cache into site-packages
    return models, audio


def official_network(models: Any, seed: int, half_precision_values: bool = False) -> nn.Module:
    """The official network with seeded random weights everywhere, also where it starts from zeros or ones."""
    torch.manual_seed(seed)
    network = models.UNet().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        with torch.no_grad():
            noise = torch.randn(parameter.shape, generator=generator)
            if bool((parameter == 0).all()):
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 64
                parameter.copy_(noise * fan_in**-0.5 * 0.5)
            elif bool((parameter == 1).all()):
                parameter.copy_(1 + 0.1 * noise)
            if half_precision_values:
                parameter.copy_(parameter.half().float())
    return network


def save_official(network: nn.Module, path: Path) -> None:
    """Write the network as the official training code does: a pickle with numpy scalars and the weights."""
    import numpy as np

    torch.save({"gen_state_dict": network.state_dict(), "loss": np.float64(0.5), "it": np.int64(7)}, path)


class RecordedNoise:
    """Our `Noise`, with what a call of the official code would draw; the golden file rests on its seeds."""

    def __init__(self, config: CoDiCodecConfig, items: int, seed: int):
        self.items, self.seed = items, seed
        self.shape = (config.spectrum_channels, config.num_bins, config.chunk_frames)

    def __call__(self, item: int, chunk: int, draw: int) -> Tensor:
        number = 7 if draw == PROMPT_DRAW else 10 + draw
        key = self.seed * 1_000_000 + item * 10_000 + chunk * 100 + number
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(key))

    def whole(self, chunks: range, draw: int) -> Tensor:
        rows = [torch.cat([self(i, k, draw) for k in chunks], dim=-1) for i in range(self.items)]
        return torch.stack(rows)

    def parallel_draws(self, chunks: int, steps: int) -> Iterator[Tensor]:
        """In the order in which the official parallel decoder draws; it pads to an even number of chunks."""
        for draw in range(steps + 1):
            yield self.whole(range(chunks + chunks % 2), draw)

    def autoregressive_draws(self, chunks: int, steps: int) -> Iterator[Tensor]:
        for k in range(chunks):
            numbers = [0] if k == 0 else [0, PROMPT_DRAW]
            for draw in [*numbers, *range(1, steps + 1)]:
                yield self.whole(range(k, k + 1), draw)


@contextmanager
def replayed(models: Any, draws: Iterator[Tensor]) -> Iterator[None]:
    """Make the official code draw from `draws` instead of torch's global generator."""

    class Torch:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def randn(self, shape: Any, **_: Any) -> Tensor:
            return self.randn_like(torch.empty(shape))

        def randn_like(self, x: Tensor) -> Tensor:
            noise = next(draws)
            assert noise.shape == x.shape, f"the official code draws {tuple(x.shape)}, we gave {tuple(noise.shape)}"
            return noise

    original, models.torch = models.torch, Torch()
    try:
        yield
    finally:
        models.torch = original


@torch.no_grad()
def official_outputs(
    config: CoDiCodecConfig, network: nn.Module, models: Any, audio_module: Any, audio: Tensor, seed: int
):
    """Returns what the official code computes from audio [1, 2, N]: every tensor that ours must match."""
    spectrogram = audio_module.to_representation_encoder(audio)
    pad = -spectrogram.shape[-1] % config.chunk_frames
    spectrogram = torch.nn.functional.pad(spectrogram, (0, pad))
    chunks = spectrogram.shape[-1] // config.chunk_frames
    values = network.encoder_forward(spectrogram, dont_quantize=True)
    quantised = network.encoder_forward(spectrogram)
    outputs = {"audio": audio, "spectrogram": spectrogram, "values": values, "quantised": quantised}
    outputs["tokens"] = network.fsq.codes_to_indexes(quantised).long()
    features = network.pre_decoder_forward(values[:, : 2 * config.num_summaries])
    outputs |= {f"feature_{i}": feature for i, feature in enumerate(features)}
    noise = RecordedNoise(config, 1, seed)
    pair = spectrogram[..., : 2 * config.chunk_frames] + noise.whole(range(2), 0) * 1.5
    outputs["pair"] = pair
    outputs["denoised"] = network.decoder_forward(
        pair, values[:, : 2 * config.num_summaries], features, sigma_left=0.7, sigma_right=3.0
    )
    padded = torch.nn.functional.pad(values, (0, 0, 0, chunks % 2 * config.num_summaries))
    for steps in (1, 3):
        with replayed(models, noise.parallel_draws(chunks, steps)):
            decoded = network.decode_single_parallel(padded, denoising_steps=steps)
        decoded = decoded[..., : spectrogram.shape[-1]]
        outputs[f"parallel_{steps}"] = audio_module.to_waveform(decoded)
    with replayed(models, noise.autoregressive_draws(chunks, 2)):
        decoded = network.decode_autoregressive(values, denoising_steps=2)
    outputs["autoregressive_2"] = audio_module.to_waveform(decoded)
    return outputs


def test_audio(num_samples: int, seed: int) -> Tensor:
    """A stereo signal [1, 2, N] with tones, noise and a gap."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(num_samples) / 48000
    tones = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (220.0, 3520.0)])
    audio = 0.2 * tones + 0.05 * torch.randn(2, num_samples, generator=generator)
    audio[:, num_samples // 2 : num_samples // 2 + 200] = 0
    return audio[None]


def main() -> None:
    from safetensors.torch import save_file

    models, audio_module = official_modules(GOLDEN_CONFIG)
    network = official_network(models, seed=0, half_precision_values=True)
    # whole chunks: of a partial one the official code drops the frames that the signal does not fill
    audio = test_audio(5 * GOLDEN_CONFIG.chunk_samples + GOLDEN_CONFIG.stft_hop_samples, seed=1)
    outputs = official_outputs(GOLDEN_CONFIG, network, models, audio_module, audio, seed=2)
    weights = {f"weights.{k}": v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    tensors = {k: v.contiguous() for k, v in {**weights, **outputs}.items()}
    save_file(tensors, sys.argv[1], metadata={"made_by": "demos/bench/official_codicodec.py, codicodec 0.1.2"})


if __name__ == "__main__":
    main()
