"""The tokenizers that have a name: where each is, its size and rates, and the terms of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TokenizerCard:
    """One row of a table of tokenizers."""

    class_name: str  # in load.py's table of classes
    place: str  # folder inside the package, or hub id of weights in the official format
    parameters_m: float  # size of the network in millions of parameters
    audio: str  # sample rate and channels of what the codec decodes
    latents: str  # width and rate
    tokens: str  # rate, codebook sizes, bit rate
    licence: str  # of the weights


@dataclass(frozen=True, kw_only=True)
class OfficialCard(TokenizerCard):
    """A row of weights on a hub, whose `place` is their hub id."""

    files: tuple[str, ...]  # of the weights, one of which is enough
    semantic: str | None = None  # hub id of a semantic encoder that is fetched as well
    download_gb: float  # everything that is fetched, in 10^9 bytes
    gated: bool  # the licence must be accepted on the hub's page first

    @property
    def memory_gb(self) -> float:
        """Memory of the weights in float32, in 10^9 bytes; half of it in half precision."""
        return self.parameters_m * 4 / 1000


OWN_LICENCE = "Apache-2.0"
STABILITY = "Stability AI Community License"

# tokenizers whose weights are part of the package
SHIPPED_CARDS = {
    "melcodec-music": TokenizerCard(
        class_name="MelCodec",
        place="tokenizers/melcodec/weights/music",
        parameters_m=7.0,
        audio="24 kHz mono",
        latents="24 at 46.9 Hz",
        tokens="46.875 Hz of 65536 and 65536 and 65536, 2250 bit/s",
        licence=OWN_LICENCE,
    ),
    "melcodec-speech": TokenizerCard(
        class_name="MelCodec",
        place="tokenizers/melcodec/weights/speech",
        parameters_m=7.1,
        audio="16 kHz mono",
        latents="8 at 50 Hz",
        tokens="50 Hz of 65536, 800 bit/s",
        licence=OWN_LICENCE,
    ),
    "codicodec-mini": TokenizerCard(
        class_name="CoDiCodec",
        place="tokenizers/codicodec/weights/mini",
        parameters_m=7.9,
        audio="16 kHz mono",
        latents="32 at 15.6 Hz",
        tokens="125 Hz of 14641, 1730 bit/s",
        licence=OWN_LICENCE,
    ),
}
# tokenizers whose weights are fetched from a hub, in the official format
OFFICIAL_CARDS = {
    "codicodec": OfficialCard(
        class_name="CoDiCodec",
        place="SonyCSLParis/codicodec",
        parameters_m=147.2,
        audio="48 kHz stereo",
        latents="64 at 11.7 Hz",
        tokens="187.5 Hz of 14641, 2595 bit/s",
        licence="CC-BY-NC-4.0",
        files=("codicodec.pt",),
        download_gb=0.6,
        gated=False,
    ),
    "stable-codec-speech-16k": OfficialCard(
        class_name="TAAE",
        place="stabilityai/stable-codec-speech-16k",
        parameters_m=953.3,
        audio="16 kHz mono",
        latents="6 at 25 Hz",
        tokens="25 Hz of 24137569, 613 bit/s",
        licence=STABILITY,
        files=("model.safetensors", "model.ckpt"),
        download_gb=3.8,
        gated=True,
    ),
    "stable-codec-speech-16k-base": OfficialCard(
        class_name="TAAE",
        place="stabilityai/stable-codec-speech-16k-base",
        parameters_m=953.3,
        audio="16 kHz mono",
        latents="6 at 25 Hz",
        tokens="25 Hz of 24137569, 613 bit/s",
        licence=STABILITY,
        files=("model.safetensors", "model.ckpt"),
        download_gb=3.8,
        gated=True,
    ),
    "neucodec": OfficialCard(
        class_name="NeuCodec",
        place="neuphonic/neucodec",
        parameters_m=629.9,
        audio="24 kHz mono",
        latents="8 at 50 Hz",
        tokens="50 Hz of 65536, 800 bit/s",
        licence="Apache-2.0",
        files=("model.safetensors", "pytorch_model.bin"),
        semantic="facebook/w2v-bert-2.0",
        download_gb=3.5,
        gated=True,
    ),
    "distill-neucodec": OfficialCard(
        class_name="DistillNeuCodec",
        place="neuphonic/distill-neucodec",
        parameters_m=247.3,
        audio="24 kHz mono",
        latents="8 at 50 Hz",
        tokens="50 Hz of 65536, 800 bit/s",
        licence="Apache-2.0",
        files=("pytorch_model.bin",),
        semantic="ntu-spml/distilhubert",
        download_gb=1.1,
        gated=False,
    ),
}


def place_of(name: str | Path) -> str:
    """Returns where a tokenizer is: the folder or hub id of a shipped or official name; any other place as it is."""
    if (card := SHIPPED_CARDS.get(str(name))) is not None:
        return str(files("latentune") / card.place)
    card = OFFICIAL_CARDS.get(str(name))
    return card.place if card is not None else str(name)


def official_card(place: str) -> OfficialCard | None:
    """Returns the card of official weights by their hub id; None for any other place."""
    return next((card for card in OFFICIAL_CARDS.values() if card.place == place), None)
