"""Commands whose arguments, options and help are generated from a config dataclass.

A positional field is an argument, another one an option. `--config FILE` reads any of the keys from a YAML file, and
`key=value` arguments set any of them, nested ones included; these win over options, and options over the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from ...core.config import build_config
from ...core.errors import OutputError
from ...core.fields import Field, fields_of, help_text, is_many, is_required
from ...core.settings import load_settings, parse_overrides
from .fields import has_option, key_records, metavar, option_of, parameter_name, parsed_value
from .tools import Outcome, start_logging

OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")  # the start of a `key=value` argument
START_AGAIN = "run the same command again; it starts from the beginning"
ARGUMENTS = "arguments"  # the name of the click argument that takes all positional texts


class ConfigCommand(click.Command):
    """A command that builds a config dataclass from its arguments and hands it to a function.

    Args:
        run: function of the config and of the `extra` options by name.
        config: the dataclass, or `module:Class` relative to `latentune`, imported when the command is used.
        build: function that builds the config from a mapping, as `module:function`; by default `build_config`.
        extra: options that are not fields of the config.
        file_first: the first argument is the config file, in place of the option `--config`.
        resume: what to do after an interruption, for the message.
    """

    def __init__(
        self,
        run: Callable[..., Outcome],
        config: str | type[Any],
        *,
        name: str | None = None,
        build: str | None = None,
        extra: Sequence[click.Option] = (),
        file_first: bool = False,
        resume: str = START_AGAIN,
    ):
        super().__init__((name or run.__name__).replace("_", "-"), help=run.__doc__)
        self.run, self.config, self.builder = run, config, build
        self.extra, self.file_first, self.resume = list(extra), file_first, resume

    @property
    def config_class(self) -> type[Any]:
        """The config dataclass."""
        return _load(self.config) if isinstance(self.config, str) else self.config

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.params:
            self.params = [
                click.Argument([ARGUMENTS], nargs=-1),
                *(option_of(key, field, hint) for key, field, hint in self.keyed_fields()),
                *self.extra,
                *general_options(not self.file_first),
            ]
        return super().get_params(ctx)

    def keyed_fields(self) -> list[tuple[str, Field, Any]]:
        """Returns the fields that have an option: dotted key of the config, field, type."""
        return [(field.name, field, hint) for field, hint in fields_of(self.config_class) if has_option(field, hint)]

    def invoke(self, ctx: click.Context) -> None:
        extra = {str(option.name): ctx.params[str(option.name)] for option in self.extra if option.expose_value}
        config = self.settings(ctx)
        try:
            outcome = self.run(config, **extra)
        except KeyboardInterrupt as error:
            raise type(error)(self.resume) from error
        except OutputError as error:
            raise OutputError(error.errno or 0, f"{error}; then {self.resume}") from error
        outcome.show(ctx.params["as_json"])
        ctx.exit(outcome.exit_code)

    def settings(self, ctx: click.Context) -> Any:
        """Returns the config that the command line asks for.

        Raises:
            ConfigError: an unknown, missing or ill-typed key.
            click.UsageError: a missing argument.
        """
        texts = list(ctx.params[ARGUMENTS])
        source = ctx.params.get("config_file")
        if self.file_first:
            if not texts or OVERRIDE.match(texts[0]):
                raise click.UsageError("Missing argument 'CONFIG'.", ctx)
            source = texts.pop(0)
        given, overrides = _assign(texts, self._positional())
        self._refuse_surplus(ctx, overrides)
        for key, field, hint in self.keyed_fields():
            value = ctx.params[parameter_name(key)]
            if value is not None and value != ():
                _put(given, key, parsed_value(field, hint, value))
        self._refuse_missing(ctx, source, given, overrides)
        values = load_settings(source, overrides, given)
        return _load(self.builder)(values) if self.builder else build_config(self.config_class, values)

    def _positional(self) -> list[tuple[Field, Any]]:
        return [(field, hint) for field, hint in fields_of(self.config_class) if field.metadata.get("positional")]

    def _refuse_surplus(self, ctx: click.Context, overrides: Sequence[str]) -> None:
        for text in overrides:
            if not OVERRIDE.match(text):
                raise click.UsageError(f"Got unexpected argument {text!r}, which is not key=value either.", ctx)

    def _refuse_missing(
        self, ctx: click.Context, source: str | None, given: Mapping[str, Any], overrides: Sequence[str]
    ) -> None:
        if source is not None:
            return  # the file may hold it
        known = {*given, *parse_overrides(overrides)}
        for field, _ in self._positional():
            if is_required(field) and field.name not in known:
                raise click.UsageError(f"Missing argument '{metavar(field)}'.", ctx)
        for key, field, hint in self.keyed_fields():
            if is_required(field) and key not in known:
                raise click.UsageError(f"Missing option '{option_of(key, field, hint).opts[0]}'.", ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        names = []
        for field, hint in self._positional():
            name = metavar(field) if is_required(field) and not self.file_first else f"[{metavar(field)}]"
            names.append(f"{name}..." if is_many(hint) else name)
        return [*(["CONFIG"] if self.file_first else []), *names, "[KEY=VALUE]...", "[OPTIONS]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": self._argument_records()}
        titles = {parameter_name(key): self.section_of(key) for key, _, _ in self.keyed_fields()}
        titles |= {str(option.name): "Options" for option in self.extra}
        for param in options:
            if record := param.get_help_record(ctx):
                sections.setdefault(titles.get(str(param.name), "General options"), []).append(record)
        if keys := list(key_records(self.config_class)):
            sections["Further keys"] = keys
        sections["General options"] = sections.pop("General options")  # last
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def section_of(self, key: str) -> str:
        """Returns the title of the help section that shows the option of a key."""
        return "Options"

    def _argument_records(self) -> list[tuple[str, str]]:
        file = ("CONFIG", "YAML file of the keys, or the name of a config that ships, such as train/dit-tiny.")
        keys = ("KEY=VALUE", "Sets any key of the config, nested ones with dots. The value is YAML, such as [1, 2].")
        positional = [(metavar(field), help_text(field)) for field, _ in self._positional()]
        return [*([file] if self.file_first else []), *positional, keys]


def general_options(config_file: bool) -> list[click.Option]:
    """Returns the options that every command has; with `config_file`, also `--config`."""
    file = click.Option(
        ["config_file", "--config", "-c"], metavar="FILE", help="YAML file with any of the keys, or a shipped name."
    )
    return [
        *([file] if config_file else []),
        click.Option(["as_json", "--json"], is_flag=True, help="Print the result as JSON."),
        click.Option(
            ["--verbose", "-v"], is_flag=True, expose_value=False, callback=_verbose, help="Log every step of the work."
        ),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=_debug, help="Show the traceback of an error."
        ),
    ]


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(f"...{module}", __package__), name)


def _assign(texts: Sequence[str], positional: Sequence[tuple[Field, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Positional texts as values of the fields, and the rest, which are overrides or mistakes."""
    plain_texts = [text for text in texts if not OVERRIDE.match(text)]
    given: dict[str, Any] = {}
    for field, hint in positional:
        if is_many(hint):
            given[field.name], plain_texts = tuple(plain_texts), []
        elif plain_texts:
            given[field.name] = plain_texts.pop(0)
    given = {name: value for name, value in given.items() if value != ()}
    return given, [*plain_texts, *(text for text in texts if OVERRIDE.match(text))]


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key in nested mappings; a mapping is merged into one that is there."""
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = {**values[last], **value} if isinstance(value, dict) and last in values else value


def _verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        start_logging(True)


def _debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        start_logging(True)
        ctx.ensure_object(dict)["debug"] = True
