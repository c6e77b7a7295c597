"""Name -> embedder. The only module that knows all of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

from ....core.config import nearest_hint
from ....core.errors import ConfigError
from .base import Embedder


@dataclass(frozen=True, kw_only=True)
class EmbedderCard:
    """One row of the table of embedders: what it takes, what it gives, where its weights come from."""

    factory: str  # module of this package : class
    sample_rate: str  # Hz; some depend on the checkpoint
    window_s: str  # of audio under one window
    dim: str  # embedding width
    weights: str  # file names and hub ids that fit
    shipped: bool  # weights are part of the library; else a checkpoint must be given
    num_classes: int | None = None  # of its classifier, for KL of posteriors


LAION_FILES = (
    "lukewys/laion_clap/music_audioset_epoch_15_esc_90.14.pt, .../music_speech_epoch_15_esc_89.25.pt, "
    ".../music_speech_audioset_epoch_15_esc_89.98.pt, .../630k-audioset-best.pt, .../630k-best.pt"
)
LAION_FUSION_FILES = "lukewys/laion_clap/630k-audioset-fusion-best.pt, .../630k-fusion-best.pt, laion/clap-htsat-fused"

EMBEDDERS = {
    "musicnn": EmbedderCard(
        factory="musicnn:MusicnnEmbedder",
        sample_rate="16000",
        window_s="2.992",
        dim="200",
        weights="MSD_musicnn, ISC licence",
        shipped=True,
        num_classes=50,
    ),
    "yamnet": EmbedderCard(
        factory="yamnet:YamnetEmbedder",
        sample_rate="16000",
        window_s="0.975",
        dim="1024",
        weights="yamnet.tflite, Apache-2.0",
        shipped=True,
        num_classes=521,
    ),
    "clap": EmbedderCard(
        factory="clap:ClapEmbedder",
        sample_rate="48000",
        window_s="10",
        dim="512",
        weights=f"{LAION_FILES}, laion/clap-htsat-unfused, laion/larger_clap_general, laion/larger_clap_music, "
        f"laion/larger_clap_music_and_speech; fused ones as well: {LAION_FUSION_FILES}",
        shipped=False,
    ),
    "clap_fusion": EmbedderCard(
        factory="clap:ClapFusionEmbedder",
        sample_rate="48000",
        window_s="10, or the whole file where it is longer",
        dim="512",
        weights=LAION_FUSION_FILES,
        shipped=False,
    ),
    "vggish": EmbedderCard(
        factory="vggish:VggishEmbedder",
        sample_rate="16000",
        window_s="0.975",
        dim="128",
        weights="vggish-10086976.pth of github.com/harritaylor/torchvggish (release v0.1)",
        shipped=False,
    ),
    "encodec": EmbedderCard(
        factory="encodec:EncodecEmbedder",
        sample_rate="24000 or 48000",
        window_s="5 (24 kHz), 1 (48 kHz); 75 or 150 embeddings a second",
        dim="128",
        weights="facebook/encodec_24khz, facebook/encodec_48khz",
        shipped=False,
    ),
}


def load_embedder(
    name: str = "auto", *, checkpoint: str | Path | None = None, device: torch.device | str = "cpu"
) -> Embedder:
    """An embedder in eval mode. `EMBEDDERS` is the table of them.

    Args:
        name: a name in `EMBEDDERS`, or `auto`: CLAP where a checkpoint is given, else MusiCNN.
        checkpoint: for those that ship no weights, a file, folder or hub id as their row says; a file on a hub is
            `owner/name/file.pt`.

    Raises:
        ConfigError: an unknown name, or a name and a checkpoint that do not go together.
        CheckpointError: a checkpoint that cannot be used.
    """
    if name == "auto":
        name = "musicnn" if checkpoint is None else "clap"
    if name not in EMBEDDERS:
        raise ConfigError(f"no embedder {name!r}: {nearest_hint(name, EMBEDDERS)}")
    card = EMBEDDERS[name]
    if card.shipped and checkpoint is not None:
        raise ConfigError(f"a checkpoint is given, but the embedder is {name}, which ships its weights: leave one out")
    if not card.shipped and checkpoint is None:
        raise ConfigError(f"the embedder {name} ships no weights: give a checkpoint, one of {card.weights}")
    module, kind = card.factory.split(":")
    factory = getattr(import_module(f".{module}", __package__), kind)
    return (factory.from_package() if card.shipped else factory.from_checkpoint(checkpoint)).to(device)
