"""MusiCNN (Pons and Serra 2019, arXiv 1909.06654; MSD_musicnn weights, ISC licence) as a music embedder.

The network is the TensorFlow original's; names of its parts are those of the converted weights in `metrics/weights`.
Shape letters: W windows (patches), T frames of a patch, M mel bands, C channels.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....layers.mel import magnitudes, mel_filters
from .base import Embedder, repeat_to

SAMPLE_RATE = 16_000  # Hz
FFT_SAMPLES = 512
HOP_SAMPLES = 256
NUM_MELS = 96
PATCH_FRAMES = 187  # 3 s
BATCH_NORM_EPS = 1e-3  # TensorFlow's default
WEIGHTS = "MSD_musicnn.safetensors"


class MusicnnNetwork(nn.Module):
    """Log-mel patches [W, T, M] to the 200-d penultimate layer, the embedding. Every batch norm follows its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.bn_in = _norm(1, nn.BatchNorm2d)
        timbral, temporal, middle = ((7, 38), (7, 67)), ((128, 1), (64, 1), (32, 1)), (561, 64, 64, 64)
        self.tim = nn.ModuleList(nn.Conv2d(1, 204, size) for size in timbral)
        self.tim_bn = nn.ModuleList(_norm(204, nn.BatchNorm2d) for _ in timbral)
        self.tmp = nn.ModuleList(nn.Conv2d(1, 51, size) for size in temporal)
        self.tmp_bn = nn.ModuleList(_norm(51, nn.BatchNorm2d) for _ in temporal)
        self.mid = nn.ModuleList(nn.Conv1d(a, b, 7, padding=3) for a, b in pairwise(middle))
        self.mid_bn = nn.ModuleList(_norm(b, nn.BatchNorm1d) for b in middle[1:])
        self.bn_pool = _norm(1506, nn.BatchNorm1d)
        self.dense = nn.Linear(1506, 200)
        self.bn_dense = _norm(200, nn.BatchNorm1d)
        self.out = nn.Linear(200, 50)

    def forward(self, patches: Tensor) -> Tensor:
        """The embedding [W, 200]."""
        pooled = self.pooled(patches).flatten(1)  # max and mean of a channel side by side
        embedding: Tensor = self.bn_dense(F.relu(self.dense(self.bn_pool(pooled))))
        return embedding

    def pooled(self, patches: Tensor) -> Tensor:
        """Maximum and mean over time of all 753 channels, [W, C, 2]."""
        x = self.bn_in(patches.unsqueeze(1))  # [W, 1, T, M]
        branches = zip([*self.tim, *self.tmp], [*self.tim_bn, *self.tmp_bn], strict=True)
        maps = [norm(F.relu(conv(_pad_time(x, conv)))) for conv, norm in branches]  # [W, C, T, frequency]
        front = torch.cat([each.amax(-1) for each in maps], 1)  # [W, 561, T]
        features, hidden = [front], front
        for number, (conv, norm) in enumerate(zip(self.mid, self.mid_bn, strict=True)):
            new = norm(F.relu(conv(hidden)))
            hidden = new + hidden if number else new
            features.append(hidden)
        channels = torch.cat(features, 1)  # [W, 753, T]
        return torch.stack([channels.amax(-1), channels.mean(-1)], -1)


class MusicnnEmbedder(Embedder):
    """16 kHz mono in, a 200-d embedding for each 3 s out; its classes are the Million Song Dataset's 50 top tags."""

    network: MusicnnNetwork
    name = "musicnn"
    num_classes = 50
    sample_rate = SAMPLE_RATE
    window_samples = PATCH_FRAMES * HOP_SAMPLES
    preprocessing = (
        "mono 16 kHz, soxr HQ; STFT 512/256 Hann, centred, reflected; 96 Slaney mel of power; log10(1 + 10000 x); "
        "patches of 187 frames, shorter audio repeated"
    )

    @classmethod
    def from_package(cls) -> Self:
        """The MSD_musicnn weights that ship with the library."""
        from safetensors.torch import load_file

        network = MusicnnNetwork()
        with as_file(files("latentune.pipelines.measure.embedders") / "weights" / WEIGHTS) as path:
            network.load_state_dict(load_file(path))
        return cls(network, dim=200, source=f"shipped {WEIGHTS}")

    def windows(self, audio: Tensor) -> Tensor:
        frames = log_mel(repeat_to(audio, self.window_samples))
        num = frames.shape[0] // PATCH_FRAMES
        return frames[: num * PATCH_FRAMES].reshape(num, PATCH_FRAMES, NUM_MELS)

    def network_output(self, windows: Tensor) -> Tensor:
        embeddings: Tensor = self.network(windows)
        return embeddings

    def class_logits(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.network.out(embeddings)
        return logits


def log_mel(audio: Tensor) -> Tensor:
    """Audio [N] at 16 kHz to the network's input frames [T, M], T = N // 256 + 1."""
    power = magnitudes(audio.float(), FFT_SAMPLES, HOP_SAMPLES, "reflect").square()
    filters = mel_filters(SAMPLE_RATE, FFT_SAMPLES, NUM_MELS).to(power)
    return torch.log10(1.0 + 10_000.0 * (filters @ power)).T


def _pad_time(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Zeros about time, so that `conv` keeps it: TensorFlow's 'same', the odd one behind."""
    size = conv.kernel_size[0]
    return F.pad(x, (0, 0, (size - 1) // 2, size // 2))


def _norm(channels: int, kind: type[nn.BatchNorm1d] | type[nn.BatchNorm2d]) -> nn.Module:
    return kind(channels, eps=BATCH_NORM_EPS)
