"""The application of `latentune web`: the page with its tabs, and the streams that its players fetch.

Import it where the extra `web` is installed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from ..hosting.jobs import Jobs
from ..hosting.models import Models
from ..hosting.responses import LiveResponse
from .compare import CompareTab
from .config import WebConfig
from .datasets import DatasetsTab
from .generate import GenerateTab
from .live import LEAD_S, STREAM_PATH, LiveTab
from .page import Page
from .speak import SpeakTab
from .tokenize import TokenizeTab

TABS = (TokenizeTab, GenerateTab, LiveTab, SpeakTab, DatasetsTab, CompareTab)
FONT = ("system-ui", "sans-serif")  # those of the system: a page of this machine fetches nothing from elsewhere
MONO = ("ui-monospace", "monospace")
CACHE_S = (600, 3600)  # between two looks for old files, and their age
CSS = """
.gradio-container { width: 100% !important; max-width: 1200px !important; margin: 0 auto !important; }
[data-testid="status-tracker"]:has(.error) { display: none; } /* the message says it; this would cover the result */
#live-player { width: 100%; }
.gradio-container .prose table td, .gradio-container .prose table th { padding: 0.2rem 0.6rem; font-weight: 400; }
.gradio-container .prose table td:first-child, .gradio-container .prose table th:first-child { white-space: nowrap; }
@media (max-width: 600px) { .tab-wrapper button { padding: 0 0.45rem; font-size: 0.85rem; } }
.picture [data-testid="block-label"] { position: static; }
"""


def build_page(config: WebConfig, models: Models) -> tuple[gr.Blocks, Page]:
    """Returns the page and what its tabs share.

    Args:
        config: the limits.
        models: what it works with.
    """
    page = Page(config=config, models=models, jobs=Jobs(config.queue, config.timeout_s))
    with gr.Blocks(title="Latentune", analytics_enabled=False, delete_cache=CACHE_S) as blocks:
        gr.Markdown("# Latentune\nAudio as latents and tokens, and the generators that are trained on them.")
        with gr.Tabs():
            for tab in TABS:
                tab(page).build()
        for handler, targets in page.on_load:
            blocks.load(**targets, **page.quick(handler))
    blocks.queue(max_size=config.queue, api_open=False)
    return blocks, page


def build_app(config: WebConfig, models: Models) -> FastAPI:
    """Returns the application; no file of the server can be reached through it but those that the page made itself.

    Args:
        config: the limits.
        models: what it works with.
    """
    blocks, page = build_page(config, models)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    threads = ThreadPoolExecutor(config.queue)  # one for each place, so that no stream waits for a thread

    async def live(request: Request) -> Response:
        found = page.streams.take(request.path_params["token"])
        if found is None:
            return PlainTextResponse("this stream was fetched already, or never was", status_code=404)
        return LiveResponse(found, threads, lead_s=LEAD_S, media_type="audio/mpeg")

    app.add_api_route(f"{STREAM_PATH}/{{token}}", live, methods=["GET"], response_model=None)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        allowed_paths=[],
        max_file_size=config.max_upload_bytes,
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=FONT, font_mono=MONO),
        css=CSS,
    )
    # mounting leaves this False, and gradio then reads whatever file of this machine a client names as its upload
    blocks.has_launched = True
    return mounted
