"""YAMNet (TensorFlow Models; weights Apache-2.0) as an embedder of general audio, and AudioSet's 521 classes.

The weights are those of the TensorFlow Lite file (`yamnet.tflite`): int8 with one scale an output channel, batch norm
folded into them. They are computed with in float32 here, where TensorFlow Lite rounds every layer's output to int8 as
well. Names are those of `metrics/weights/yamnet.safetensors`. Shape letters: W windows, T frames, M mel bands.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from . import audioset_mel
from .base import Embedder

LOG_OFFSET = 0.001
NUM_CLASSES = 521
# output channels and stride of the first convolution and of the 13 pairs of depthwise and pointwise ones behind it
LAYERS = (
    *((32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
WEIGHTS = "yamnet.safetensors"


class YamnetNetwork(nn.Module):
    """Log-mel patches [W, T, M] to the mean of the last feature map, [W, 1024]: MobileNet v1 (1704.04861), ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        (width, stride), *pairs = LAYERS
        convs = [nn.Conv2d(1, width, 3, stride)]
        for out_width, stride in pairs:
            convs += [nn.Conv2d(width, width, 3, stride, groups=width), nn.Conv2d(width, out_width, 1)]
            width = out_width
        self.convs = nn.ModuleDict({f"conv{number:02d}": conv for number, conv in enumerate(convs)})
        self.classifier = nn.Linear(width, NUM_CLASSES)

    def forward(self, patches: Tensor) -> Tensor:
        x = patches.unsqueeze(1)  # [W, 1, T, M]
        for conv in self.convs.values():
            x = F.relu6(conv(_pad_same(x, conv)))
        return x.mean((2, 3))


class YamnetEmbedder(Embedder):
    """16 kHz mono in, a 1024-d embedding for each 0.96 s out; its classes are those of AudioSet."""

    network: YamnetNetwork
    name = "yamnet"
    sample_rate = audioset_mel.SAMPLE_RATE
    window_samples = audioset_mel.PATCH_SAMPLES
    num_classes = NUM_CLASSES
    preprocessing = (
        "mono 16 kHz, soxr HQ; STFT of 400/160 samples in 512, Hann, not padded; 64 HTK mel of magnitudes, "
        "125-7500 Hz; log(x + 0.001); patches of 96 frames, shorter audio repeated"
    )

    @classmethod
    def from_package(cls) -> Self:
        """The weights that ship with the library."""
        from safetensors.torch import load_file

        with as_file(files("latentune.pipelines.measure.embedders") / "weights" / WEIGHTS) as path:
            stored = load_file(path)
        network = YamnetNetwork()
        network.load_state_dict({_module_name(key): value for key, value in dequantised(stored).items()})
        return cls(network, dim=1024, source=f"shipped {WEIGHTS}")

    def windows(self, audio: Tensor) -> Tensor:
        return audioset_mel.patches(audio, LOG_OFFSET)

    def network_output(self, windows: Tensor) -> Tensor:
        embeddings: Tensor = self.network(windows)
        return embeddings

    def class_logits(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.network.classifier(embeddings)
        return logits


def dequantised(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float32: each int8 `<layer>.weight` times `<layer>.scale` of its output channel; biases stay."""
    state = {}
    for key, value in stored.items():
        layer, kind = key.rsplit(".", 1)
        if kind == "weight":
            value = value.float() * stored[f"{layer}.scale"].reshape(-1, *[1] * (value.ndim - 1))
        if kind != "scale":
            state[key] = value
    return state


def _module_name(key: str) -> str:
    return f"convs.{key}" if key.startswith("conv") else key


def _pad_same(x: Tensor, conv: nn.Module) -> Tensor:
    """Zeros about time and frequency as in TensorFlow's 'same', the odd one behind; strides of 2 meet even sizes."""
    if conv.kernel_size == (1, 1):
        return x
    before = 0 if conv.stride == (2, 2) else 1
    return F.pad(x, (before, 1, before, 1))
