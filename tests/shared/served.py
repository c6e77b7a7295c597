"""Pipelines to serve, and a server of them on the loopback."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of
from plain_codec import PlainCodec

from latentune.core.compute import ComputeConfig
from latentune.generators.base import Generated, TokenizerBinding, TrainedOn
from latentune.generators.language import TokenLM, TokenLMConfig
from latentune.pipelines.generation.decoded import AudioOutput
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.generation.saved import PipelineDefaults
from latentune.pipelines.hosting.models import Models, Named


class SlowGenerator(NoiseGenerator):
    """A generator of noise that takes its time, in steps, and counts how many use it at once."""

    seconds, steps = 0.05, 5
    now, most, done = 0, 0, 0

    def sample(self, *arguments: Any, callback: Any = None, **options: Any) -> Generated:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for step in range(self.steps):
                time.sleep(self.seconds / self.steps)
                if callback is not None:
                    callback(step + 1, self.steps)
            self.done += 1
            return super().sample(*arguments, callback=None, **options)
        finally:
            self.now -= 1


class LoudCodec(PlainCodec):
    """A plain codec whose tokens are levels of the audio within -1..1, so that no two of them sound alike."""

    def decode(self, *, latents: Any = None, tokens: Any = None, **options: Any) -> Any:
        if tokens is not None:
            latents = (tokens.float() / 2048 - 1).expand(-1, -1, self.spec.latent_dim)
        return super().decode(latents=latents, **options)


def slow_pipeline(seconds: float = 0.05) -> GenerationPipeline:
    """A pipeline that cannot stream, and whose sampling takes `seconds`."""
    codec = LoudCodec().eval()
    generator = SlowGenerator(NoiseConfig(binding=binding_of(codec))).eval()
    generator.seconds = seconds
    with torch.no_grad():
        generator.gain.fill_(0.1)
    return GenerationPipeline(codec, generator, PipelineDefaults(duration_s=0.5))


def stream_pipeline() -> GenerationPipeline:
    """A pipeline that streams: a token language model of a plain codec."""
    codec = LoudCodec().eval()
    binding = TokenizerBinding(spec=codec.spec, fingerprint=codec.fingerprint())
    torch.manual_seed(0)
    model = TokenLM(
        TokenLMConfig(
            binding=binding,
            width=16,
            depth=1,
            heads=2,
            digit_width=8,
            max_frames=32,
            trained_on=TrainedOn(conditions=("text",)),
        )
    )
    return GenerationPipeline(codec, model.eval(), PipelineDefaults(duration_s=0.5))


class Speaker(GenerationPipeline):
    """A pipeline that says each word as a tenth of a second of noise, sentence by sentence."""

    def pieces(self, text: str, speed: float = 1.0) -> list[Any]:
        return [SimpleNamespace(text=part, pause_s=0.0) for part in text.split(".") if part.strip()]

    def say_stream(self, text: str, *, voice: Any, speed: float, generator: torch.Generator) -> Iterator[torch.Tensor]:
        for piece in self.pieces(text):
            size = (2, round(self.generator.duration_of(piece.text, speed) * 4000))
            yield 0.1 * torch.randn(size, generator=generator) if voice is None else voice[0][:, : size[1]]

    def say(self, text: str, *, callback: Any, **options: Any) -> AudioOutput:
        audio = torch.cat(list(self.say_stream(text, **options)), -1)[None]
        callback(1, 1)
        lengths = torch.tensor([audio.shape[-1]])
        return AudioOutput(audio=audio, sample_rate=4000, lengths_samples=lengths, prompts=[text])


def speaking_pipeline() -> GenerationPipeline:
    """A pipeline that speaks."""
    codec = LoudCodec().eval()
    generator: Any = NoiseGenerator(NoiseConfig(binding=binding_of(codec))).eval()
    pipeline = Speaker(codec, generator)
    generator.condition_encoder = SimpleNamespace(transcript="transcript", conditioners={}, request=lambda given: None)
    generator.duration_of = lambda text, speed: 0.1 * len(text.split()) / speed
    return pipeline


def models_of(**pipelines: GenerationPipeline) -> Models:
    """The models of a server that has these pipelines."""
    models = Models(compute=ComputeConfig())
    models.pipelines = Named("pipeline", list(pipelines), pipelines.__getitem__)
    return models


@contextmanager
def running(app: Any, stop_s: float = 1.0) -> Iterator[tuple[str, Any]]:
    """A server of an application on a free port: its address, and uvicorn's object."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=int(stop_s))
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.should_exit = True
        thread.join()


def post(address: str, body: Any, timeout_s: float = 30.0) -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body of the response to a POST of JSON."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()
