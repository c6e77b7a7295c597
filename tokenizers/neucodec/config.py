"""Every constant of NeuCodec (arXiv 2509.09550) and of its distilled version. The defaults are the released models."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar, Self

from ...core.config import build_config
from ..parts.residual import ResidualConfig
from .acoustic import AcousticConfig
from .decoder import DecoderConfig
from .distil_semantic import DistilSemanticConfig
from .l3ac import DistilAcousticConfig
from .quantiser import QuantiserConfig
from .semantic import SemanticConfig


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """The common part of both versions: everything after their encoders.

    No field has the name of a part of the model: diffusers would return the field instead of the part.
    """

    PRESETS: ClassVar[tuple[str, ...]]

    encoder_rate: int = 16000  # Hz, of the encoders' input
    sample_rate: int = 24000  # Hz, of the decoder's output
    adapter_width: int = 1024  # hidden channels between the semantic encoder and the fusion
    semantic_width: int = 1024  # channels of the adapter's output
    fused_width: int = 2048  # of the fusion, and of the embedded codes
    fsq: QuantiserConfig = field(default_factory=QuantiserConfig)
    residual: ResidualConfig | None = None  # codebooks instead of FSQ's levels, within the same bounds, for comparisons
    synthesis: DecoderConfig = field(default_factory=DecoderConfig)
    latent_scale: float = 0.55  # continuous latent = atanh(value) / scale: deviation 1 where all levels are as common
    predict_semantic: bool = False  # the branch that predicts the semantic features again, for training

    @classmethod
    def preset(cls, name: str) -> Self:
        """Returns a size that ships in configs/tokenizers, such as `neucodec` or `neucodec-mini`."""
        import yaml

        if name not in cls.PRESETS:
            raise ValueError(f"unknown {cls.__name__} {name!r}: known are {', '.join(cls.PRESETS)}")
        text = (files("latentune.configs") / f"tokenizers/{name}.yaml").read_text()
        return build_config(cls, yaml.safe_load(text)["config"], name)

    @classmethod
    def tiny(cls) -> Self:
        """Returns the smallest size, for tests."""
        return cls.preset(cls.PRESETS[-1])

    def check_hops(self, acoustic_hop: int) -> None:
        """Raises ValueError unless encoder and decoder have the same frame rate."""
        if acoustic_hop * self.sample_rate != self.synthesis.hop_samples * self.encoder_rate:
            raise ValueError(
                f"a frame is {acoustic_hop} samples at {self.encoder_rate} Hz for the encoder, "
                f"{self.synthesis.hop_samples} at {self.sample_rate} Hz for the decoder: not the same time"
            )


@dataclass(frozen=True, kw_only=True)
class NeuCodecConfig(CodecConfig):
    """NeuCodec: w2v-BERT 2.0 and a BigCodec-like encoder."""

    PRESETS: ClassVar[tuple[str, ...]] = ("neucodec", "neucodec-mini", "neucodec-tiny")

    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    acoustic: AcousticConfig = field(default_factory=AcousticConfig)

    def __post_init__(self) -> None:
        self.check_hops(self.acoustic.hop_samples)


@dataclass(frozen=True, kw_only=True)
class DistillNeuCodecConfig(CodecConfig):
    """DistillNeuCodec: DistilHuBERT and an L3AC-like encoder."""

    PRESETS: ClassVar[tuple[str, ...]] = ("neucodec-distill", "neucodec-distill-mini", "neucodec-distill-tiny")

    semantic: DistilSemanticConfig = field(default_factory=DistilSemanticConfig)
    acoustic: DistilAcousticConfig = field(default_factory=DistilAcousticConfig)
    semantic_width: int = 768
    acoustic_width: int = 768  # to which the acoustic frames are projected before the fusion

    def __post_init__(self) -> None:
        self.check_hops(self.acoustic.hop_samples)
