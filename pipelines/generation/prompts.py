"""Prompts out of text and JSON lines files."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

KEYS = {"text", "prompt", "label", "seconds", "conditions"}  # of an object in a .jsonl file


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One prompt and what is asked for with it."""

    text: str
    label: str | None = None
    seconds: float | None = None
    conditions: dict[str, Any] = field(default_factory=dict)  # further conditions by name, such as {"bpm": 120}


def read_prompts(prompts: Sequence[str], prompts_file: str | Path | None = None) -> list[PromptLine]:
    """Returns prompts and then those of a file; one empty prompt where there are neither.

    Args:
        prompts: texts.
        prompts_file: .txt with one prompt per line, or .jsonl of objects with `text` (or `prompt`), and perhaps
            `label`, `seconds` and `conditions`. Blank lines are not prompts.

    Raises:
        ValueError: a line that is not a prompt (named), a file with none, or one of another kind. Keys of objects that
            are not read are named in a warning.
        OSError: the file cannot be read.
    """
    lines = [PromptLine(text=text) for text in prompts]
    if prompts_file is not None:
        lines += _read_file(Path(prompts_file))
    return lines or [PromptLine(text="")]


def _read_file(path: Path) -> list[PromptLine]:
    if path.suffix.lower() not in (".txt", ".jsonl"):
        raise ValueError(f"prompts file {path}: use .txt (one prompt per line) or .jsonl (objects with a text)")
    try:
        rows = list(enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1))
    except UnicodeDecodeError as error:
        raise ValueError(f"prompts file {path} is not UTF-8 text ({error.reason})") from error
    parse = _json_row if path.suffix.lower() == ".jsonl" else _text_row
    places = {f"{path}, line {number}": text for number, text in rows if text.strip()}
    parsed = {where: parse(text, where) for where, text in places.items()}
    found = [_prompt(row, where) for where, row in parsed.items()]
    if not found:
        raise ValueError(f"prompts file {path} holds no prompt")
    if unread := sorted(set().union(*parsed.values()) - KEYS):
        logger.warning("prompts file %s: these keys have no effect: %s", path, ", ".join(unread))
    return found


def _text_row(text: str, where: str) -> dict[str, Any]:
    return {"text": text.strip()}


def _json_row(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error})") from error


def _prompt(row: Any, where: str) -> PromptLine:
    if not isinstance(row, dict) or not isinstance(prompt := row.get("text", row.get("prompt")), str):
        raise ValueError(f'{where}: expected an object with a text, such as {{"text": "calm piano"}}')
    label, seconds, conditions = row.get("label"), row.get("seconds"), row.get("conditions", {})
    if not (label is None or isinstance(label, str)):
        raise ValueError(f"{where}: label is {label!r}, not a text")
    if not (seconds is None or (isinstance(seconds, (int, float)) and 0 < seconds < math.inf)):
        raise ValueError(f"{where}: seconds is {seconds!r}, not a positive number")
    if not isinstance(conditions, dict):
        raise ValueError(f'{where}: conditions are {conditions!r}, not an object such as {{"bpm": 120}}')
    return PromptLine(text=prompt, label=label, seconds=seconds, conditions=conditions)
