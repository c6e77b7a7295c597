"""EnCodec's encoder (Défossez et al. 2022, arXiv 2210.13438) before quantisation as an embedder, on transformers.

`facebook/encodec_24khz` gives fadtk's `encodec-emb`, `facebook/encodec_48khz` its `encodec-emb-48k`: a 128-d embedding
a frame (75 or 150 a second), the input not normalised in level. fadtk runs the 24 kHz encoder over the whole file; here
it starts again every 5 s, which bounds memory and gives the same on files of 5 s. At 48 kHz fadtk also keeps the two
channels of stereo files, and the last part of a second. Frames of one file are far from independent: judge sample sizes
by the number of files. Needs the extra `encodec`.
Shape letters: N samples, W windows, C channels, D width, T frames of a window.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from ....core.extras import import_class
from ....generators.conditioning.frozen.pretrained import load_pretrained
from .base import Embedder, repeat_to

CAUSAL_WINDOW_S = 5.0  # of models without segments of their own


class EncodecEmbedder(Embedder):
    """Mono at the checkpoint's rate in, a 128-d embedding for each frame out; stereo models get it in both channels."""

    name = "encodec"

    def __init__(self, encoder: Any, config: Any, source: str):
        super().__init__(encoder, dim=config.hidden_size, source=source)
        self.sample_rate = config.sampling_rate
        self.channels = config.audio_channels
        self.window_samples = round((config.chunk_length_s or CAUSAL_WINDOW_S) * config.sampling_rate)
        self.embeddings_per_window = math.ceil(self.window_samples / math.prod(config.upsampling_ratios))
        self.preprocessing = (
            f"mono {self.sample_rate} Hz, soxr HQ, in {self.channels} channels, level as it is; windows of "
            f"{self.window_samples} samples, shorter audio repeated; encoder output before quantisation"
        )

    @classmethod
    def from_checkpoint(cls, source: str | Path) -> Self:
        """Load a folder or hub id in transformers' format.

        Raises:
            CheckpointError: nothing there, unreadable, or no EnCodec.
        """
        model = load_pretrained(import_class("EncodecModel", "the embedder encodec"), source, "EnCodec")
        return cls(model.encoder, model.config, str(source))

    def windows(self, audio: Tensor) -> Tensor:
        audio = repeat_to(audio.float(), self.window_samples)
        num = len(audio) // self.window_samples
        return audio[: num * self.window_samples].reshape(num, 1, -1).expand(-1, self.channels, -1)

    def network_output(self, windows: Tensor) -> Tensor:
        frames: Tensor = self.network(windows)  # [W, D, T]
        return frames.transpose(1, 2).flatten(0, 1)
