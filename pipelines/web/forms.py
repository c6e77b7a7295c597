"""Fields of a form for the sampling options of pipelines, made of the generators' config dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

import gradio as gr
import yaml

from ...core.errors import ConfigError
from ...core.fields import Field, fields_of, part_of
from ...core.settings import parse_overrides
from ..generation.pipeline import GenerationPipeline

# shown first; all others are in a part that is folded in
MAIN = ("guidance", "steps", "solver", "negative", "temperature", "top_k", "top_p", "passes", "strength")


class OptionForm:
    """One field for each sampling option that any of the pipelines has, by the names of the command line.

    Call `render` where the fields are to be. Those that the chosen pipeline does not have are hidden.

    Args:
        pipelines: by name.
    """

    def __init__(self, pipelines: Mapping[str, GenerationPipeline]):
        self.pipelines = pipelines
        self.fields: dict[str, tuple[Field, Any]] = {}
        for pipeline in pipelines.values():
            for name, (field, hint) in options_of(pipeline).items():
                self.fields.setdefault(name, (field, hint))
        names = [name for name in MAIN if name in self.fields]
        self.names = [*names, *(name for name in self.fields if name not in MAIN)]
        self.components: list[Any] = []

    def render(self, chosen: str) -> None:
        """Adds the fields to the page, with the values of the pipeline `chosen`."""
        main = [name for name in self.names if name in MAIN]
        with gr.Row():
            self.components = [self._component(name, chosen) for name in main]
        with gr.Accordion("More options", open=False), gr.Row():
            self.components += [self._component(name, chosen) for name in self.names[len(main) :]]

    def updates(self, chosen: str) -> list[Any]:
        """Returns the updates of all fields for another pipeline."""
        has = options_of(self.pipelines[chosen])
        return [gr.update(visible=name in has, value=self._default(name, chosen)) for name in self.names]

    def read(self, chosen: str, values: Sequence[Any]) -> dict[str, Any]:
        """Returns the options that the fields hold.

        Args:
            chosen: name of the pipeline.
            values: of all fields, in order.

        Raises:
            ConfigError: a text that is not a value of its option.
        """
        has = options_of(self.pipelines[chosen])
        pairs = dict(zip(self.names, values, strict=True))
        read = {name: parsed(name, hint, pairs[name]) for name, (_, hint) in has.items()}
        return {name: value for name, value in read.items() if value is not None}

    def _default(self, name: str, chosen: str) -> Any:
        """Returns the value of a field, as it shows it, that the pipeline has by default."""
        defaults = self.pipelines[chosen].defaults
        own = {"guidance_scale": defaults.guidance_scale, **defaults.sample}
        found = options_of(self.pipelines[chosen]).get(name)
        field, hint = found if found is not None else self.fields[name]
        value = field.default_factory() if callable(field.default_factory) else field.default
        return field_value(own.get(field.name, value) if found is not None else value, hint)

    def _component(self, name: str, chosen: str) -> Any:
        field, hint = self.fields[name]
        part = part_of(hint)
        text, label = str(field.metadata.get("help", "")), name.replace("_", " ").capitalize()
        info = text.partition(". ")[0] if name in MAIN else text
        shared = {
            "label": label,
            "info": None if info in ("", label) else info,
            "visible": name in options_of(self.pipelines[chosen]),
            "value": self._default(name, chosen),
            "elem_id": f"option-{name}",
        }
        if part is bool:
            return gr.Checkbox(**shared)
        if isinstance(next(iter(get_args(part)), None), str):
            return gr.Dropdown(choices=list(get_args(part)), **shared)
        if part in (int, float) and part is hint:
            return gr.Number(precision=0 if part is int else None, step=1 if part is int else 0.1, **shared)
        return gr.Textbox(placeholder="default" if part is not hint else "", **shared)  # an empty number would be 0


def options_of(pipeline: GenerationPipeline) -> dict[str, tuple[Field, Any]]:
    """Returns the options of a pipeline's sampling, by the names of the command line, each with its type."""
    found = fields_of(type(pipeline.generator).sampling_class)
    return {
        str(field.metadata.get("name") or field.name): (field, hint)
        for field, hint in found
        if not field.metadata.get("hidden")
    }


def field_value(value: Any, hint: Any) -> Any:
    """Returns a value as a field of the form holds it: mappings and sequences are texts."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value))
    if value is None:
        return ""
    return value if part_of(hint) is hint else str(value)


def parsed(name: str, hint: Any, value: Any) -> Any:
    """Returns the value of an option that a field holds; None: none is given.

    Args:
        name: of the option, for messages.
        hint: its type.
        value: of the field.

    Raises:
        ConfigError: a text that is not a value of this type.
    """
    part = part_of(hint)
    if value is None or (value == "" and part is not str):
        return None
    try:
        if get_origin(part) is dict or part is dict:
            return parse_overrides([item.strip() for item in value.split(",")])
        if get_origin(part) in (tuple, list):
            return yaml.safe_load(f"[{value}]")
        if part in (int, float) and isinstance(value, str):
            return part(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{name}: {value!r} cannot be read ({error})") from error
    return int(value) if part is int and value == int(value) else value
