"""Saved generators of earlier formats, read as if they were saved today.

Format 1 had a fixed set of conditions (text, labels, seconds) in `conditioning`; format 2 lists conditioners by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from ..core.errors import ConfigError

FORMAT_KEY = "_format_version"  # of config.json; format 1 has none
CONFIG_FORMAT = 2
FORMAT_1_CONDITIONING = {
    "width": 256,
    "text_layers": 2,
    "text_heads": 4,
    "text_max_bytes": 256,
    "text_tokens": 8,
    "labels": (),
    "seconds": True,
}
# weights of format 1 -> of format 2, where the key begins so
RENAMED = {"condition_encoder.parts.labels.": "condition_encoder.parts.label."}


def upgrade_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a generator's config, as read from `config.json`, in today's format.

    Raises:
        ConfigError: a format that is newer than this program.
    """
    upgraded, version = dict(values), values.get(FORMAT_KEY, 1)
    if version > CONFIG_FORMAT:
        raise ConfigError(
            f"the generator's config has format version {version}, this release reads up to {CONFIG_FORMAT}: "
            "update latentune"
        )
    conditioning = upgraded.get("conditioning")
    if version < 2 and isinstance(conditioning, Mapping) and set(conditioning) <= set(FORMAT_1_CONDITIONING):
        upgraded["conditioning"] = _named_conditioners({**FORMAT_1_CONDITIONING, **conditioning})
    return upgraded


def rename_weights(state_dict: MutableMapping[str, Any], wanted: Iterable[str]) -> None:
    """Renames the weights of a saved generator of format 1, in place, to the names in `wanted` that it lacks."""
    missing = set(wanted) - set(state_dict)
    for key in list(state_dict):
        for old, new in RENAMED.items():
            renamed = new + key.removeprefix(old)
            if key.startswith(old) and renamed in missing:
                state_dict[renamed] = state_dict.pop(key)


def _named_conditioners(old: Mapping[str, Any]) -> dict[str, Any]:
    conditioners: dict[str, Any] = {}
    if old["text_layers"]:
        conditioners["text"] = {
            "kind": "bytes",
            "layers": old["text_layers"],
            "heads": old["text_heads"],
            "max_bytes": old["text_max_bytes"],
            "num_tokens": old["text_tokens"],
        }
    if old["labels"]:
        conditioners["label"] = {"kind": "labels", "labels": list(old["labels"])}
    if old["seconds"]:
        conditioners["seconds"] = {"kind": "seconds"}
    return {"width": old["width"], "conditioners": conditioners}
