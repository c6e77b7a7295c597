"""VGGish (Hershey et al. 2017, arXiv 1609.09430), the embedder of the first Fréchet audio distances (1812.08466).

Reads the weights that torch hub's `harritaylor/torchvggish` downloads; they are not shipped. The embedding is the last
linear layer's output: no ReLU on it, no PCA and no 8-bit rounding, as `frechet-audio-distance` and `fadtk` have it by
default. The PCA step of AudioSet's published features is left out on purpose: it clips to +-2 and rounds, which spoils
the covariances that the distance is made of. Shape letters: W windows, T frames, M mel bands, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from ....core.errors import CheckpointError
from ....core.pickles import load_pickle
from ....core.weights import describe_keys
from . import audioset_mel
from .base import Embedder

LOG_OFFSET = 0.01
CHANNELS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)  # of each 3x3 convolution; 0 is max pooling by 2
HIDDEN = 4096
DIM = 128
URL = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"


class VggishNetwork(nn.Module):
    """Log-mel patches [W, T, M] to embeddings [W, D]. Names are those of torchvggish's checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for channels in CHANNELS:
            block = [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(inplace=True)] if channels else [nn.MaxPool2d(2)]
            layers += block
            width = channels or width
        self.features = nn.Sequential(*layers)
        shrink = 2 ** CHANNELS.count(0)
        flat = width * (audioset_mel.PATCH_FRAMES // shrink) * (audioset_mel.NUM_MELS // shrink)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, DIM)
        )

    def forward(self, patches: Tensor) -> Tensor:
        maps = self.features(patches.unsqueeze(1))  # [W, channels, T / 16, M / 16]
        embeddings: Tensor = self.embeddings(maps.movedim(1, -1).flatten(1))  # TensorFlow's order: channels last
        return embeddings


class VggishEmbedder(Embedder):
    """16 kHz mono in, a 128-d embedding for each 0.96 s out."""

    network: VggishNetwork
    name = "vggish"
    sample_rate = audioset_mel.SAMPLE_RATE
    window_samples = audioset_mel.PATCH_SAMPLES
    preprocessing = (
        "mono 16 kHz, soxr HQ; STFT of 400/160 samples in 512, Hann, not padded; 64 HTK mel of magnitudes, "
        "125-7500 Hz; log(x + 0.01); patches of 96 frames, shorter audio repeated; last linear layer, no PCA"
    )

    @classmethod
    def from_checkpoint(cls, source: str | Path) -> Self:
        """Load the file that torch hub calls `vggish-10086976.pth`.

        Raises:
            CheckpointError: missing (the message says where to get it), unreadable, or keys or shapes that do not fit.
        """
        path = Path(source).expanduser()
        if not path.is_file():
            raise CheckpointError(f"no VGGish weights at {source}: download {URL}")
        state = load_pickle(path)
        with torch.device("meta"):  # 72 million numbers need no initial values
            network = VggishNetwork()
        _check_fit(state, network, source)
        network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
        return cls(network, dim=DIM, source=str(source))

    def windows(self, audio: Tensor) -> Tensor:
        return audioset_mel.patches(audio, LOG_OFFSET)

    def network_output(self, windows: Tensor) -> Tensor:
        embeddings: Tensor = self.network(windows)
        return embeddings


def _check_fit(state: object, network: nn.Module, source: str | Path) -> None:
    """Raise CheckpointError unless `state` holds tensors of the network's names and shapes."""
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{source} is not a VGGish checkpoint: its content is not a dict of tensors")
    wanted = network.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(map(str, state.keys() - wanted.keys()))
    misshapen = sorted(key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape)
    if missing or unexpected or misshapen:
        raise CheckpointError(
            f"weights of {source} do not fit VGGish: {describe_keys('missing', missing)}, "
            f"{describe_keys('unexpected', unexpected)}, {describe_keys('misshapen', misshapen)}"
        )
