"""The prompts that audio was made from: a manifest's column, or the JSON file that `latentune sample` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .sources import SourceItem

KEYS = ("prompt", "text")  # of a sidecar, the first that it has


def find_texts(items: Sequence[SourceItem], column: str) -> dict[int, str]:
    """Prompt of each item by its index, of those that have one that is not empty: one file may have several."""
    found = {}
    for item in items:
        text = item.metadata.get(column) or _sidecar(Path(item.path).with_suffix(".json"))
        if isinstance(text, str) and text.strip():
            found[item.index] = text
    return found


def _sidecar(path: Path) -> str | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # there is none, or it is something else
    if not isinstance(facts, dict):
        return None
    return next((facts[key] for key in KEYS if isinstance(facts.get(key), str)), None)
