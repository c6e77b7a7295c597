"""Latents that `pre_encode.py` of stable-audio-tools wrote, as a source of items that need no encoder.

Its folder holds `details.json`, and for each process a folder of pairs: `NAME.npy`, an array [D, T], and `NAME.json`
with the metadata, among them `padding_mask`, T numbers that are 1 where a frame is real, `prompt`, and in seconds of
the recording `seconds_start` and `seconds_total`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from ....core.storage import place_of
from ....tokenizers.spec import TokenizerSpec
from ..audio.find import file_names, filter_items
from ..audio.item import AudioItem
from ..audio.manifest import json_values
from ..audio.read import AudioInfo

DETAILS = "details.json"  # of the run that wrote the folder
MAX_SECONDS = 1e9  # what is above cannot be the length of a recording


@dataclass(frozen=True, kw_only=True)
class LatentFile(AudioItem):
    """A file of latents as the part of its recording that they stand for."""

    recording: AudioInfo | None = None  # None with a `problem`

    def probe(self) -> AudioInfo:
        """Returns the facts about the recording, which itself need not be there."""
        self._check()
        assert self.recording is not None
        return self.recording


class LatentSource:
    """The latents of a folder, sorted by name. What is wrong with one of them is its `problem`.

    It can be gone through again and again; what was found is not kept.

    Args:
        source: the folder that `pre_encode.py` wrote, or one of the folders in it.
        spec: of the codec.
        where: keep the items whose metadata has these values; a list allows any of its values.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the source is a URL or a file. While it is gone through, or at the end: no latents are found, or
            `where` names a column or values that no item has.
    """

    def __init__(self, source: str | Path, spec: TokenizerSpec, *, where: Mapping[str, Any] | None = None):
        self.place = place_of(source)
        if isinstance(self.place, str):
            raise ValueError(f"{self.place}: latents cannot be read from a URL; copy the folder to this machine")
        if not self.place.exists():
            raise FileNotFoundError(f"no latents at {self.place}: there is no such folder")
        if not self.place.is_dir():
            raise ValueError(f"{self.place} is a file: give the folder that pre_encode.py of stable-audio-tools wrote")
        self.root, self.spec, self.where = self.place, spec, where

    def __iter__(self) -> Iterator[AudioItem]:
        files = (name for name in file_names(self.root) if name.endswith((".npy", ".json")) and name != DETAILS)
        # also where one of the two files is missing
        names = sorted({str(Path(name).with_suffix(".npy").as_posix()) for name in files})
        if not any((self.root / name).exists() for name in names):
            raise ValueError(f"no latents in {self.root}: no file has the suffix .npy; for audio, omit latents_are")
        items = map(self._item, names)
        yield from filter_items(items, self.where, str(self.root)) if self.where else items

    def _item(self, name: str) -> LatentFile:
        path = self.root / name
        metadata: dict[str, Any] = {}
        try:
            metadata = _read_metadata(path.with_suffix(".json"))
            mask = metadata.pop("padding_mask", None)
            if "prompt" in metadata and "text" not in metadata:
                metadata["text"] = metadata.pop("prompt")
            start_s = _seconds(metadata, "seconds_start") or 0.0
            total_s = _seconds(metadata, "seconds_total") or 0.0
            num_samples = real_frames(_num_frames(path, self.spec.latent_dim), mask) * self.spec.hop_samples
        except (OSError, ValueError) as error:
            return LatentFile(path=path, name=name, metadata=metadata, problem=str(error))
        rate = self.spec.sample_rate
        # seconds_total is a whole number, and the last frame may reach beyond it
        length = max(round(total_s * rate), round(start_s * rate) + num_samples)
        return LatentFile(
            path=path,
            name=name,
            metadata=metadata,
            start_s=start_s,
            duration_s=num_samples / rate,
            recording=AudioInfo(num_samples=length, sample_rate=rate, channels=self.spec.channels),
        )


def real_frames(num_frames: int, mask: Any) -> int:
    """Returns the number of frames before the padding.

    Args:
        num_frames: of the latents.
        mask: one number per frame, 1 where it is real and 0 where it is padding; None: all frames are real.

    Raises:
        ValueError: the mask does not fit, has other numbers, or has padding before real frames; or no frame is real.
    """
    if mask is None:
        mask = [1] * num_frames
    if not isinstance(mask, list) or len(mask) != num_frames:
        found = f"{len(mask)} entries" if isinstance(mask, list) else repr(mask)
        raise ValueError(f"its padding_mask has {found}, the latents have {num_frames} frames")
    num_real: int = sum(entry == 1 for entry in mask)
    if any(entry != 1 for entry in mask[:num_real]) or any(entry != 0 for entry in mask[num_real:]):
        raise ValueError("its padding_mask is not ones followed by zeros")
    if not num_real:
        raise ValueError("it has no frames but padding")
    return num_real


def open_latents(path: Path, width: int) -> np.ndarray:
    """Opens a file of latents [D, T] without reading them.

    Args:
        path: of the file.
        width: D, of the codec.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not an array, truncated, of another type or of another shape.
    """
    try:
        latents: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OverflowError, SyntaxError, TokenError) as error:  # its header is Python source
        raise ValueError(f"it is not a whole array of NumPy ({error})") from error
    if latents.dtype.kind != "f":
        raise ValueError(f"it holds {latents.dtype}, not latents as floating-point numbers (tokens are not imported)")
    if latents.ndim != 2 or latents.shape[0] != width:
        raise ValueError(f"its shape is {list(latents.shape)}, latents of this codec are [{width}, frames]")
    return latents


def _num_frames(path: Path, width: int) -> int:
    if not path.exists():
        raise ValueError(f"its latents {path.name} are missing")
    return int(open_latents(path, width).shape[1])


def _read_metadata(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"its metadata {path.name} are missing")
    try:
        return json_values(json.loads(path.read_text(encoding="utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error


def _seconds(metadata: Mapping[str, Any], name: str) -> float | None:
    value = metadata.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"its {name} is {value!r}, not a time in seconds")
    return float(value)
