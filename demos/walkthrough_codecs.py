"""The codecs of the demo: real audio is encoded to shards and decoded from each stream, and the loss is measured.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import latentune
from latentune.demos.walkthrough_exhibits import Clip, Exhibit
from latentune.layers.audio import to_channels, to_rate
from latentune.pipelines.data.audio.find import choose_items
from latentune.pipelines.measure.codecs.figures.distances import mel_distance
from latentune.pipelines.measure.codecs.figures.listening import level_difference_db
from latentune.tokenizers.base import STREAMS, Stream
from latentune.tokenizers.cards import SHIPPED_CARDS

if TYPE_CHECKING:
    from latentune.demos.walkthrough_config import DemoConfig

CODECS = "Codecs"
TOKENIZERS = tuple(SHIPPED_CARDS)  # best first
MOST_SHOWN = 2  # recordings of a codec
KINDS = {"melcodec-music": "music", "melcodec-speech": "speech"}  # label of the fixtures that a shipped codec is for


@dataclass(frozen=True, kw_only=True)
class Codec:
    """A codec of the demo and what it works on."""

    name: str  # as it was asked for
    tokenizer: latentune.AudioTokenizer
    where: dict[str, Any]  # which recordings of the source
    folder: Path  # of the demo

    @property
    def short_name(self) -> str:
        """The last part of the name, for folders and captions."""
        return Path(self.name).name

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that it decodes: latents alone where it has no quantizer."""
        return STREAMS if self.tokenizer.spec.levels else ("latents",)

    @property
    def latents(self) -> Path:
        """Folder of the shards."""
        return self.folder / "latents" / self.short_name

    def decoded(self, stream: Stream) -> Path:
        """Folder of the decoded audio."""
        return self.folder / "decoded" / self.short_name / stream


def encode(codec: Codec, source: Path) -> None:
    """Encodes the codec's recordings to shards."""
    # by name and not as the loaded object, so that the dataset records where to find its tokenizer
    wanted = latentune.EncodeConfig(
        source=str(source), output=str(codec.latents), tokenizer=codec.name, where=codec.where, device="cpu"
    )
    latentune.encode_dataset(wanted)


def decode(codec: Codec, config: DemoConfig) -> None:
    """Decodes the shards from each stream."""
    for stream in codec.streams:
        wanted = latentune.DecodeConfig(
            dataset=str(codec.latents),
            output=str(codec.decoded(stream)),
            stream=stream,
            options=config.decode_options,
            seed=config.seed,
            device="cpu",
        )
        latentune.decode_dataset(wanted, tokenizer=codec.tokenizer)


def codec_exhibits(codec: Codec, source: Path) -> list[Exhibit]:
    """Returns some recordings, each next to what each stream of the codec gives back."""
    spec = codec.tokenizer.spec
    labels = {"tokens": f"from tokens, {spec.bitrate_bps / 1000:.3g} kbit/s" if spec.levels else ""}
    labels["latents"] = f"from latents, {spec.latent_dim} numbers at {spec.latent_rate_hz:.3g} Hz"
    parts = {stream: _parts(codec.decoded(stream)) for stream in codec.streams}
    found = []
    for item in choose_items(latentune.find_audio(source, where=codec.where or None), MOST_SHOWN):
        clips = [Clip(label="original", file=str(item.path))]
        for stream in codec.streams[::-1]:  # tokens first: they are what is sent
            files = parts[stream].get(item.name, [])  # a long file has several parts, a failed one none
            clips += [Clip(label=labels[stream], file=str(file.relative_to(codec.folder))) for file in files]
        text = str(item.metadata.get("text") or "")
        found.append(Exhibit(section=CODECS, caption=f"{codec.short_name}: {item.name}", text=text, clips=clips))
    return found


def codec_figures(codec: Codec, source: Path) -> list[dict[str, Any]]:
    """Returns one row per stream: means over the recordings that were decoded in one part.

    The mel distance of silence is in each row, to put the figure into proportion.
    """
    spec, rows = codec.tokenizer.spec, []
    items = latentune.find_audio(source, where=codec.where or None)
    for stream in codec.streams:
        parts = _parts(codec.decoded(stream))
        pairs = [(item, parts[item.name][0]) for item in items if len(parts.get(item.name, [])) == 1]
        figures = []
        for item, file in pairs:
            audio, rate = latentune.read_audio(item.path)
            original = to_channels(to_rate(audio, rate, spec.sample_rate)[None], spec.channels)[0]
            made, _ = latentune.read_audio(file)
            original = original[..., : made.shape[-1]]
            made = made[..., : original.shape[-1]]
            figures.append(
                {
                    "mel_distance": float(mel_distance(original, made, spec.sample_rate).mean()),
                    "mel_distance_of_silence": float(mel_distance(original, 0 * made, spec.sample_rate).mean()),
                    "level_difference_db": level_difference_db(original, made, spec.sample_rate),
                }
            )
        means = {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]} if figures else {}
        rate_bps = spec.bitrate_bps if stream == "tokens" else None
        rows.append(
            {"codec": codec.short_name, "stream": stream, "bit_rate_bps": rate_bps, "files": len(figures), **means}
        )
    return rows


def _parts(folder: Path) -> dict[str, list[Path]]:
    """Decoded files by the name of the original audio file."""
    places: dict[str, list[Path]] = {}
    for record in json.loads((folder / "decode.json").read_text(encoding="utf-8"))["items"]:
        places.setdefault(record["path"], []).append(folder / record["file"])
    return places
