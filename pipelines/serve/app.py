"""The application of `latentune serve`: its paths, and how a request becomes audio.

Import it where the extra `serve` is installed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ...core.errors import LatentuneError
from ..data.audio.encoded import FORMATS, AudioFormat, audio_bytes
from ..data.audio.read import read_audio
from ..generation.pipeline import GenerationPipeline
from ..hosting.generate import Made, generate
from ..hosting.jobs import Job, Jobs
from ..hosting.live import ByteStream, LiveStream
from ..hosting.models import Models, can_stream
from ..hosting.responses import LiveResponse
from ..hosting.speak import Voice, speak, spoken_stream
from .bodies import DEFAULT_VOICE, GenerateBody, SpeechBody, StreamBody, body_schema, read_body
from .config import ServeConfig
from .errors import RequestError, handle_error

T = TypeVar("T")
POLL_S = 0.1  # between two looks at whether the client is still there


class Service:
    """The handlers of the service and what they share.

    Args:
        config: the limits.
        models: the pipelines, loaded when they are first asked for.

    Raises:
        AudioError: the recording of a voice cannot be read.
    """

    def __init__(self, config: ServeConfig, models: Models):
        self.config, self.models = config, models
        self.jobs = Jobs(config.queue, config.timeout_s)
        self.threads = ThreadPoolExecutor(config.queue)  # one for each place, so that no stream waits for a thread
        self.voices = {name: read_audio(path) for name, path in config.voices.items()}
        self.started_s = int(time.time())

    async def health(self, request: Request) -> JSONResponse:
        """GET /health: the state of the queue."""
        return JSONResponse(
            {
                "status": "ok",
                "requests": len(self.jobs),
                "queue": self.jobs.limit,
                "models": list(self.models.pipelines),
            }
        )

    async def list_models(self, request: Request) -> JSONResponse:
        """GET /v1/models: the pipelines, as OpenAI's API lists them."""
        return JSONResponse({"object": "list", "data": [self._model(name) for name in self.models.pipelines]})

    async def show_model(self, request: Request) -> JSONResponse:
        """GET /v1/models/NAME: one pipeline."""
        name = request.path_params["name"]
        if name not in self.models.pipelines:
            self.models.pipelines[name]  # raises with the nearest name
        return JSONResponse(self._model(name))

    async def generate(self, request: Request) -> Response:
        """POST /generate: one item as a file."""
        body = await _read(request, GenerateBody)

        def work(job: Job) -> Made:
            return generate(
                self._pipeline(body.model, _follows_prompts, "follow a prompt"),
                self.config,
                job,
                prompt=body.prompt,
                seconds=body.seconds,
                seed=body.seed,
                label=body.label,
                conditions=body.conditions,
                options=body.options,
            )

        return await self._audio(request, work, body.response_format)

    async def stream(self, request: Request) -> Response:
        """POST /stream: audio while it is sampled."""
        body = await _read(request, StreamBody)

        def begin(job: Job) -> ByteStream:
            return LiveStream(
                self._pipeline(body.model, can_stream, "stream"),
                self.config,
                job,
                format=body.response_format,
                prompt=body.prompt,
                seconds=body.seconds,
                seed=body.seed,
                conditions=body.conditions,
                options=body.options,
            )

        return await self._live(begin, body.response_format)

    async def speech(self, request: Request) -> Response:
        """POST /v1/audio/speech: a text is said, as OpenAI's API has it."""
        body = await _read(request, SpeechBody)
        voice = self._voice(body.voice)
        said: dict[str, Any] = {"text": body.input, "voice": voice, "speed": body.speed, "seed": body.seed}

        def begin(job: Job) -> ByteStream:
            return spoken_stream(self._speaker(body.model), self.config, job, format=body.response_format, **said)

        def work(job: Job) -> Made:
            return speak(self._speaker(body.model), self.config, job, **said)

        if body.stream:
            return await self._live(begin, body.response_format)
        return await self._audio(request, work, body.response_format)

    async def _live(self, begin: Callable[[Job], ByteStream], format: AudioFormat) -> Response:
        """Returns the response that streams what `begin` opens."""
        job = self.jobs.admit()
        try:
            live = await self._in_thread(begin, job)
        except BaseException:
            job.close()
            raise
        headers = _headers(live.seed, live.sample_rate)
        return LiveResponse(live, self.threads, media_type=FORMATS[format].mime, headers=headers)

    async def _audio(self, request: Request, work: Callable[[Job], Made], format: AudioFormat) -> Response:
        """Returns the response with the audio that `work` makes in a thread; a client that goes away ends it."""

        def encoded(job: Job) -> tuple[Made, bytes]:
            made = work(job)
            return made, audio_bytes(made.audio, made.sample_rate, format)

        with self.jobs.admit() as job:
            made, data = await self._while_connected(request, job, encoded)
        headers = _headers(made.seed, made.sample_rate)
        return Response(data, media_type=FORMATS[format].mime, headers=headers)

    def _in_thread(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)

    async def _while_connected(self, request: Request, job: Job, work: Callable[[Job], T]) -> T:
        """Returns the result of `work` in a thread; if the client goes away, the job is cancelled.

        The job keeps its place until the thread has ended, so that no more of them run than there are places.
        """
        running = self._in_thread(work, job)
        try:
            while not (await asyncio.wait({running}, timeout=POLL_S))[0]:
                if await request.is_disconnected():
                    job.cancel()
            return await running
        finally:
            job.cancel()
            if not running.done():
                await asyncio.wait({running})

    def _pipeline(
        self, name: str | None, able: Callable[[GenerationPipeline], bool] | None = None, to: str = ""
    ) -> GenerationPipeline:
        """Returns the pipeline of a name; None: the first one that is able to."""
        if name is not None:
            return self.models.pipelines[name]
        for pipeline in self.models.pipelines.values():
            if able is None or able(pipeline):
                return pipeline
        raise RequestError(400, f"none of the pipelines here can {to}", param="model", code="model_not_found")

    def _speaker(self, name: str | None) -> GenerationPipeline:
        return self._pipeline(name, lambda one: one.can_speak, "speak")

    def _voice(self, name: str) -> Voice | None:
        """Returns the recording of a voice; None for the generator's own."""
        if name == DEFAULT_VOICE:
            return None
        if name not in self.voices:
            known = ", ".join((DEFAULT_VOICE, *self.voices))
            raise RequestError(400, f"no voice is called {name!r} here: known are {known}", param="voice")
        return self.voices[name]

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self.started_s, "owned_by": "latentune"}


def build_app(config: ServeConfig, models: Models) -> FastAPI:
    """Returns the application.

    Args:
        config: the limits.
        models: the pipelines.

    Raises:
        AudioError: the recording of a voice cannot be read.
    """
    from ... import __version__

    app = FastAPI(title="Latentune", version=__version__, docs_url=None, redoc_url=None)
    service = Service(config, models)
    app.state.service = service
    for path, handler in (("/health", service.health), ("/v1/models", service.list_models)):
        app.add_api_route(path, handler, methods=["GET"], response_model=None)
    app.add_api_route("/v1/models/{name}", service.show_model, methods=["GET"], response_model=None)
    posts: dict[str, tuple[Any, type[Any]]] = {
        "/generate": (service.generate, GenerateBody),
        "/stream": (service.stream, StreamBody),
        "/v1/audio/speech": (service.speech, SpeechBody),
    }
    for path, (handler, body) in posts.items():
        content = {"application/json": {"schema": body_schema(body)}}
        extra = {"requestBody": {"required": True, "content": content}}
        app.add_api_route(path, handler, methods=["POST"], response_model=None, openapi_extra=extra)
    for kind in (LatentuneError, ValueError, TypeError, HTTPException, Exception):
        app.add_exception_handler(kind, handle_error)
    return app


async def _read(request: Request, cls: type[T]) -> T:
    """Returns the body of a request."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which a page of another site cannot send without asking first
        raise RequestError(415, f"the content type must be application/json, got {kind or 'none'}")
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON ({error})") from error
    return read_body(cls, values)


def _follows_prompts(pipeline: GenerationPipeline) -> bool:
    return not pipeline.can_speak


def _headers(seed: int, sample_rate: int) -> dict[str, str]:
    return {"X-Seed": str(seed), "X-Sample-Rate": str(sample_rate), "Cache-Control": "no-store"}
