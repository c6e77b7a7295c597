"""Options of sampling as the command line names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ...core.config import nearest_hint
from ...core.errors import ConfigError
from ...generators.base import LatentGenerator


def sampling_options(given: Mapping[str, Any], generator: type[LatentGenerator]) -> dict[str, Any]:
    """Returns the given options under the names that the generator's sampling config has for them.

    Raises:
        ConfigError: an option that this kind of generator does not have, or a value that does not fit.
    """
    known = fields(generator.sampling_class)
    names = {field.metadata.get("name") or field.name: field.name for field in known}
    if wrong := [name for name in given if name not in names and name not in names.values()]:
        raise ConfigError(
            f"{', '.join(wrong)} is not an option of a {generator.__name__}: {nearest_hint(wrong[0], names)}"
        )
    options = {names.get(name, name): value for name, value in given.items()}
    generator.make_sampling(options)
    return options
