"""Config dataclasses: fields that document themselves."""

import dataclasses
from typing import Any

import pytest

from latentune.core.config import build_config, config_to_dict, option
from latentune.core.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    source: str = option(help="Folder of audio.", positional=True)
    num: int = option(3, "Number of samples.", short="n")
    where: dict[str, Any] = option(factory=dict, help="Rows to keep.")


def test_an_option_is_an_ordinary_field_with_help() -> None:
    first, second = Settings(source="a"), Settings(source="a", num=4)
    assert config_to_dict(first) == {"source": "a", "num": 3, "where": {}}
    assert second.num == 4
    assert first.where is not second.where
    help_texts = {field.name: field.metadata["help"] for field in dataclasses.fields(Settings)}
    assert help_texts == {"source": "Folder of audio.", "num": "Number of samples.", "where": "Rows to keep."}


def test_an_option_without_a_default_is_required() -> None:
    with pytest.raises(TypeError, match="source"):
        Settings()  # mypy takes any default for one
    with pytest.raises(ConfigError, match="lacks the required key"):
        build_config(Settings, {})
