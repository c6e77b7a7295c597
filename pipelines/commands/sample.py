"""The command `latentune sample`, with options of the generators that ship."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

from ...core.fields import Field, fields_of, part_of
from .options import ConfigCommand
from .tools import Outcome, progress_bar

if TYPE_CHECKING:
    from ..sample import SampleConfig

OPTIONS = "options"  # field of SampleConfig with the options of the generator


def sample(config: SampleConfig) -> Outcome:
    """Sample audio from prompts."""
    from ..sample import sample_to_folder

    with progress_bar("sampling") as update:
        records = sample_to_folder(config, progress=update)
    text = f"{config.output}: {len(records)} sample{'s' if len(records) != 1 else ''}"
    return Outcome(facts={"output": config.output, "samples": records}, text=text)


class SampleCommand(ConfigCommand):
    """The command, whose options include those of the sampling configs of the generators that ship."""

    @cached_property
    def sampling_fields(self) -> dict[str, tuple[list[str], Field, Any]]:
        """Name of each option -> names of the generators that have it, field, type.

        Of two generators whose option has different choices, the one with more is asked.
        """
        from ...generators.load import KINDS, generator_class

        found: dict[str, tuple[list[str], Field, Any]] = {}
        for kind in KINDS:
            for field, hint in fields_of(generator_class(kind).sampling_class):
                if not field.metadata.get("hidden"):
                    name = str(field.metadata.get("name") or field.name)
                    kinds, kept, kept_hint = found.get(name, ([], field, hint))
                    if len(get_args(part_of(hint))) > len(get_args(part_of(kept_hint))):
                        kept, kept_hint = field, hint
                    found[name] = ([*kinds, kind], kept, kept_hint)
        return found

    def keyed_fields(self) -> list[tuple[str, Field, Any]]:
        fields = [(f"{OPTIONS}.{name}", field, hint) for name, (_, field, hint) in self.sampling_fields.items()]
        return [*super().keyed_fields(), *fields]

    def section_of(self, key: str) -> str:
        if not key.startswith(f"{OPTIONS}."):
            return super().section_of(key)
        kinds = " and ".join(self.sampling_fields[key.removeprefix(f"{OPTIONS}.")][0])
        return f"Options of {kinds}; a pipeline may have its own defaults"


command = SampleCommand(sample, "pipelines.sample:SampleConfig")
