"""The short recordings that are part of the package, for those who have none at hand."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from .find import find_audio
from .item import AudioItem


def find_fixtures() -> Path:
    """Returns the manifest of the recordings that are part of the package."""
    return Path(str(files("latentune.demos") / "fixtures" / "manifest.jsonl"))


def fixtures_by_text() -> dict[str, AudioItem]:
    """Returns the recordings by what they are, in a few words."""
    return {str(item.metadata["text"]): item for item in find_audio(find_fixtures())}
