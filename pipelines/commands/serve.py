"""The command `latentune serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ...core.extras import import_extra
from .options import ConfigCommand
from .tools import Outcome

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..serve.config import ServeConfig

STOPPED = "the server was stopped"


def serve(config: ServeConfig) -> Outcome:
    """Serve pipelines over HTTP: speech as OpenAI's API has it, generated audio, and streams."""
    import_extra("fastapi", "serve", "latentune serve")
    from ..hosting.models import Models
    from ..hosting.server import run_server
    from ..serve.app import build_app

    def make_app() -> FastAPI:
        models = Models(pipelines=config.sources, compute=config)
        models.load()
        return build_app(config, models)

    run_server(make_app, config, "serve", started=lambda address: click.echo(f"serving at {address}", err=True))
    return Outcome(facts={"stopped": True}, text=STOPPED)


command = ConfigCommand(serve, "pipelines.serve.config:ServeConfig", resume="the server was stopped while it started")
