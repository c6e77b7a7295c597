"""The command `latentune web`."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import click

from ...core.extras import import_extra
from .options import ConfigCommand
from .tools import Outcome

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..web.config import WebConfig

UPLOADS = "GRADIO_TEMP_DIR"  # where gradio puts uploads and results


def web(config: WebConfig) -> Outcome:
    """Open a page in the browser: tokenize, generate, stream, speak, browse datasets and compare codecs."""
    for module in ("gradio", "matplotlib"):
        import_extra(module, "web", "latentune web")
    with tempfile.TemporaryDirectory(prefix="latentune-web-") as folder:
        os.environ[UPLOADS] = folder  # before gradio is imported; removed with all files at the end
        from ..hosting.models import Models
        from ..hosting.server import run_server
        from ..web.app import build_app

        def make_app() -> FastAPI:
            models = Models(
                pipelines=config.pipeline_sources,
                tokenizers=config.tokenizer_sources,
                datasets=config.datasets,
                compute=config,
            )
            models.load()
            return build_app(config, models)

        def started(address: str) -> None:
            click.echo(f"open {address} in a browser", err=True)

        run_server(make_app, config, "web", started=started)
    return Outcome(facts={"stopped": True}, text="the server was stopped")


command = ConfigCommand(web, "pipelines.web.config:WebConfig", resume="the page was stopped while it started")
