"""The bodies of requests, as config dataclasses: each is checked as the options of a command are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin

from ...core.config import build_config, option
from ...core.errors import ConfigError
from ...core.fields import fields_of, help_text, is_required, part_of
from ..data.audio.encoded import AudioFormat
from ..generation.speakable import SPEEDS

T = TypeVar("T")
DEFAULT_VOICE = "default"
MAX_TEXT = 10_000  # characters of a prompt or of a text to speak
JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, kw_only=True)
class AudioBody:
    """The fields of every request for audio."""

    model: str | None = option(None, "Name of a pipeline, as GET /v1/models lists it. By default the first that fits.")
    seed: int | None = option(None, "Seed of all noise. By default one is drawn; the header X-Seed has it.")


@dataclass(frozen=True, kw_only=True)
class GenerateBody(AudioBody):
    """The body of POST /generate."""

    prompt: str = option("", "Text to sample from. An empty one asks for nothing in particular.")
    seconds: float | None = option(None, "Length in seconds. By default that of the pipeline.")
    label: str | None = option(None, "Class label.")
    conditions: dict[str, Any] = option(factory=dict, help='Further conditions by name, such as {"bpm": 120}.')
    options: dict[str, Any] = option(
        factory=dict, help='Options of the generator\'s sampling, such as {"guidance": 4, "negative": "noise"}.'
    )
    response_format: AudioFormat = option("wav", "Format of the audio.")

    def __post_init__(self) -> None:
        check_text("prompt", self.prompt)


@dataclass(frozen=True, kw_only=True)
class StreamBody(AudioBody):
    """The body of POST /stream."""

    prompt: str = option("", "Text to sample from. An empty one asks for nothing in particular.")
    seconds: float | None = option(None, "Length in seconds. By default the longest that the service allows.")
    conditions: dict[str, Any] = option(factory=dict, help="Further conditions by name.")
    options: dict[str, Any] = option(factory=dict, help="Options of the generator's sampling.")
    response_format: AudioFormat = option("mp3", "Format of the audio.")

    def __post_init__(self) -> None:
        check_text("prompt", self.prompt)


@dataclass(frozen=True, kw_only=True)
class SpeechBody(AudioBody):
    """The body of POST /v1/audio/speech, as OpenAI's API has it."""

    input: str = option(help="Text to speak.")
    voice: str = option(DEFAULT_VOICE, "Name of a voice that the service was started with.")
    response_format: AudioFormat = option("mp3", "Format of the audio.")
    speed: float = option(1.0, "Factor of the speed, 0.25 to 4.")
    stream: bool = option(False, "Send each sentence as soon as it is spoken.")

    def __post_init__(self) -> None:
        check_text("input", self.input)
        if not self.input.strip():
            raise ValueError("input is empty: give a text to speak")
        if not SPEEDS[0] <= self.speed <= SPEEDS[1]:
            raise ValueError(f"speed must lie in {SPEEDS[0]:g}..{SPEEDS[1]:g}, got {self.speed:g}")


def check_text(name: str, text: str) -> None:
    """Raises ValueError for a text that is too long."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{name} has {len(text)} characters, allowed are {MAX_TEXT}")


def read_body(cls: type[T], values: Any) -> T:
    """Returns the body of a request.

    Args:
        cls: one of the classes here.
        values: the parsed JSON.

    Raises:
        ConfigError: not an object, an unknown or missing key, or a value that does not fit.
    """
    if not isinstance(values, dict):
        raise ConfigError("the body must be a JSON object")
    return build_config(cls, values)


def body_schema(cls: type[Any]) -> dict[str, Any]:
    """Returns the JSON schema of a body, for the description of the service."""
    fields = fields_of(cls)
    return {
        "type": "object",
        "properties": {field.name: _value_schema(field, hint) for field, hint in fields},
        "required": [field.name for field, _ in fields if is_required(field)],
        "additionalProperties": False,
    }


def _value_schema(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    part = part_of(hint)
    choices = {"enum": list(get_args(part))} if isinstance(next(iter(get_args(part)), None), str) else {}
    kind = "object" if get_origin(part) is dict else JSON_TYPES.get(part, "string")
    if get_origin(part) is dict:
        choices = {}
    return {"type": kind, **choices, "description": help_text(field)}
