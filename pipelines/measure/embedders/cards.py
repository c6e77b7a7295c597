"""The table of embedders: where each is, what it takes, what it gives, and the terms of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ....core.extras import is_installed


@dataclass(frozen=True)
class Checkpoint:
    """Weights of an embedder that have a name of their own."""

    source: str  # hub id, or owner/name/file
    size_gb: float  # of the download, in 10^9 bytes, about
    use: str  # what they are recommended for, and by whom


@dataclass(frozen=True, kw_only=True)
class EmbedderCard:
    """One row of the table of embedders."""

    path: str  # module:Class, the module relative to this package
    sample_rate: str  # Hz; some depend on the checkpoint
    window: str  # length of audio under one window
    dim: str  # embedding width
    size: str  # number of parameters
    weights: str  # file names and hub ids that fit
    licence: str  # of the weights
    shipped: bool  # weights are part of the library; otherwise a checkpoint must be given
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)  # name -> weights, the default first
    num_classes: int | None = None  # of its classifier, for the KL divergence of posteriors
    package: str | None = None  # beyond the library's own requirements
    extra: str | None = None  # which installs that package

    @property
    def installed(self) -> bool:
        """Whether the packages that it needs are installed."""
        return self.package is None or is_installed(self.package)


LAION_FILES = (
    "lukewys/laion_clap/music_audioset_epoch_15_esc_90.14.pt, .../music_speech_epoch_15_esc_89.25.pt, "
    ".../music_speech_audioset_epoch_15_esc_89.98.pt, .../630k-audioset-best.pt, .../630k-best.pt"
)
LAION_FUSION_FILES = "lukewys/laion_clap/630k-audioset-fusion-best.pt, .../630k-fusion-best.pt, laion/clap-htsat-fused"
LAION_LICENCE = "Apache-2.0 (laion/*)"  # for a .pt file, look where it is from
LAION_SIZE = "28 or 69 M"  # HTSAT-tiny or -base

# as the authors' README names them, and fadtk as clap-laion-music and clap-laion-audio
CLAP_CHECKPOINTS = {
    "music": Checkpoint(
        "lukewys/laion_clap/music_audioset_epoch_15_esc_90.14.pt", 2.4, "music; fadtk's clap-laion-music"
    ),
    "audio": Checkpoint("lukewys/laion_clap/630k-audioset-best.pt", 1.9, "general audio; fadtk's clap-laion-audio"),
    "speech": Checkpoint(
        "lukewys/laion_clap/music_speech_audioset_epoch_15_esc_89.98.pt", 2.4, "speech, music and general audio"
    ),
}
CLAP_FUSION_CHECKPOINTS = {
    "audio": Checkpoint("lukewys/laion_clap/630k-audioset-fusion-best.pt", 1.9, "general audio of any length"),
}

EMBEDDERS = {
    "musicnn": EmbedderCard(
        path=".musicnn:MusicnnEmbedder",
        sample_rate="16000",
        window="2.992 s",
        dim="200",
        size="0.8 M",
        weights="MSD_musicnn",
        licence="ISC",
        shipped=True,
        num_classes=50,
    ),
    "yamnet": EmbedderCard(
        path=".yamnet:YamnetEmbedder",
        sample_rate="16000",
        window="0.975 s",
        dim="1024",
        size="3.7 M",
        weights="yamnet.tflite",
        licence="Apache-2.0",
        shipped=True,
        num_classes=521,
    ),
    "clap": EmbedderCard(
        path=".clap:ClapEmbedder",
        sample_rate="48000",
        window="10 s",
        dim="512",
        size=LAION_SIZE,
        weights=f"{LAION_FILES}, laion/clap-htsat-unfused, laion/larger_clap_general, laion/larger_clap_music, "
        f"laion/larger_clap_music_and_speech; fused ones as well: {LAION_FUSION_FILES}",
        licence=LAION_LICENCE,
        shipped=False,
        checkpoints=CLAP_CHECKPOINTS,
    ),
    "clap_fusion": EmbedderCard(
        path=".clap:ClapFusionEmbedder",
        sample_rate="48000",
        window="10 s, or the whole file",
        dim="512",
        size=LAION_SIZE,
        weights=LAION_FUSION_FILES,
        licence=LAION_LICENCE,
        shipped=False,
        checkpoints=CLAP_FUSION_CHECKPOINTS,
    ),
    "clap_laion": EmbedderCard(
        path=".clap_laion:LaionClapEmbedder",
        sample_rate="48000",
        window="10 s",
        dim="512",
        size=LAION_SIZE,
        weights=LAION_FILES,
        licence=LAION_LICENCE,
        shipped=False,
        checkpoints=CLAP_CHECKPOINTS,
        package="laion_clap",
        extra="laion-clap",
    ),
    "vggish": EmbedderCard(
        path=".vggish:VggishEmbedder",
        sample_rate="16000",
        window="0.975 s",
        dim="128",
        size="72 M",
        weights="vggish-10086976.pth of github.com/harritaylor/torchvggish (release v0.1)",
        licence="Apache-2.0",
        shipped=False,
    ),
    "encodec": EmbedderCard(
        path=".encodec:EncodecEmbedder",
        sample_rate="24000 or 48000",
        window="5 s or 1 s",
        dim="128",
        size="7.4 M",
        weights="facebook/encodec_24khz, facebook/encodec_48khz",
        licence="see the model's page",
        shipped=False,
    ),
}
