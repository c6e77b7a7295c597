"""The perceptual loss of the second training stage: distance of WavLM-Large's features (arXiv 2411.19842, eq. 9).

WavLM is not part of the codec: it is loaded only for training, and neither trained nor saved.

Shape letters: B batch, C audio channels, N audio samples, T frames, D features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from ...core.errors import CheckpointError, MissingPackageError
from ...core.extras import import_class, install_command
from ...core.hub import shortened

SAMPLE_RATE = 16000  # Hz, of WavLM
SHORTEST_SAMPLES = 400  # one frame of WavLM
NORM_EPS = 1e-5  # of the waveform's normalisation


@dataclass(frozen=True, kw_only=True)
class PerceptualConfig:
    """The network, its layers, and the scale of their distances."""

    path: str | None = None  # folder that transformers' WavLMModel loads; null: torchaudio's WAVLM_LARGE bundle
    download: bool = False  # whether torchaudio may fetch the bundle (1.2 GB) where its cache does not hold it
    layers: tuple[int, ...] = ()  # transformer layers that count, from 0; empty: all
    normaliser: Literal["magnitude", "std"] = "magnitude"  # of each layer: mean |real| (paper), or std (released code)
    normalise_waveform: Literal["item", "batch"] = "item"  # over what zero mean and unit variance are made; released:
    # the whole batch, which lets the items of a batch change each other's features


class PerceptualFeatures(nn.Module):
    """A frozen WavLM that returns the outputs of its transformer layers. It always stays in eval mode.

    Args:
        wavlm: transformers' `WavLMModel` or torchaudio's `Wav2Vec2Model`.
        config: which layers count, and how the waveform is normalised.

    Raises:
        ValueError: layers that the network does not have.
    """

    def __init__(self, wavlm: nn.Module, config: PerceptualConfig):
        super().__init__()
        self.config = config
        self.wavlm = wavlm.requires_grad_(False).eval()
        blocks = _blocks(wavlm)
        self.layers = config.layers or tuple(range(len(blocks)))
        if min(self.layers) < 0 or max(self.layers) >= len(blocks):
            raise ValueError(f"perceptual layers {self.layers}: this WavLM has layers 0 to {len(blocks) - 1}")

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: dropout in the target of a loss would only be noise (as it is in the released code)."""
        return super().train(False)

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Returns the features [B * C, T, D] of each layer for audio [B, C, N] at 16 kHz.

        Raises:
            ValueError: audio shorter than a frame.
        """
        if audio.shape[-1] < SHORTEST_SAMPLES:
            raise ValueError(f"WavLM takes audio of at least {SHORTEST_SAMPLES} samples, got {audio.shape[-1]}")
        waveform = self._normalise(audio.float().flatten(0, 1))
        blocks = _blocks(self.wavlm)
        with _outputs_of([blocks[layer] for layer in self.layers]) as features:
            self.wavlm(waveform)
        return features

    def _normalise(self, waveform: Tensor) -> Tensor:
        axes = (0, 1) if self.config.normalise_waveform == "batch" else (1,)
        variance, mean = torch.var_mean(waveform, axes, correction=0, keepdim=True)
        return (waveform - mean) / (variance + NORM_EPS).sqrt()


def perceptual_loss(
    real: Sequence[Tensor], fake: Sequence[Tensor], normaliser: Literal["magnitude", "std"] = "magnitude"
) -> Tensor:
    """Returns the mean over the layers of their normalised distances.

    Args:
        real: features of each layer for real audio.
        fake: features of each layer for the codec's audio.
        normaliser: `magnitude` divides mean |real - fake| by mean |real| (eq. 9), `std` by std(real) + 1e-5 (released).

    Returns:
        A scalar.
    """
    losses = []
    for r, f in zip(real, fake, strict=True):
        target = r.detach().float()
        scale = target.abs().mean() if normaliser == "magnitude" else target.std() + 1e-5
        losses.append((f.float() - target).abs().mean() / scale)
    return torch.stack(losses).mean()


def load_perceptual(config: PerceptualConfig, sample_rate: int) -> PerceptualFeatures:
    """Loads WavLM as `config` names it, for audio of `sample_rate`.

    Raises:
        ValueError: another sample rate than WavLM's.
        ImportError: the package that loads it is not installed.
        CheckpointError: the weights are not there and must not or cannot be downloaded.
    """
    if sample_rate != SAMPLE_RATE:
        raise ValueError(f"the perceptual loss takes {SAMPLE_RATE} Hz, the codec has {sample_rate}: stay in stage 1")
    wavlm = _from_torchaudio(config.download) if config.path is None else _from_folder(Path(config.path))
    return PerceptualFeatures(wavlm, config)


def _from_folder(path: Path) -> nn.Module:
    if not (path / "config.json").is_file():
        raise CheckpointError(f"no WavLM at {path}: config.json and weights are needed as transformers saves them")
    try:
        wavlm: nn.Module = import_class("WavLMModel", "the perceptual loss").from_pretrained(
            str(path), local_files_only=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"cannot load WavLM from {path}: {shortened(error)}") from error
    return wavlm


def _from_torchaudio(download: bool) -> nn.Module:
    try:
        from torchaudio.pipelines import WAVLM_LARGE as bundle
    except (ImportError, OSError) as error:  # OSError: libraries of another torch
        message = f"WavLM from its bundle needs torchaudio: {install_command('torchaudio', 'torchaudio')}"
        raise MissingPackageError(message) from error
    cached = Path(torch.hub.get_dir()) / "checkpoints" / "wavlm_large.pth"
    if not cached.is_file() and not download:
        raise CheckpointError(
            f"WavLM-Large is not at {cached}: set objective.perceptual.download to fetch it (1.2 GB), or "
            "objective.perceptual.path to a folder of transformers' WavLMModel"
        )
    try:
        model = bundle.get_model()
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot fetch WavLM-Large: {error}; or set objective.perceptual.path") from error
    # without the wrapper, which normalises the waveform over the whole batch
    network: nn.Module = getattr(model, "model", model)
    return network


def _blocks(wavlm: nn.Module) -> nn.ModuleList:
    """Returns the transformer layers, in order, of transformers' or of torchaudio's model."""
    encoder: Any = wavlm.encoder
    layers: nn.ModuleList = getattr(encoder, "transformer", encoder).layers
    return layers


@contextmanager
def _outputs_of(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Yields a list that, within this context, receives the output of each module (the first of several)."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
