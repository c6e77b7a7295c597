"""The generator that speaks and ships, in the service and on the page: length, level, streams, mistakes, two users."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import soundfile

from latentune.core.compute import ComputeConfig

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from latentune.pipelines.hosting.models import Models
from latentune.pipelines.serve.app import build_app
from latentune.pipelines.serve.config import ServeConfig

TEXT = "Hello there, how are you today?"
MODELS = ("melcodec-music-dit", "melcodec-speech-say")


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(pipelines=MODELS, compute=ComputeConfig(device="cpu"))


@pytest.fixture(scope="module")
def client(models: Models) -> TestClient:
    app = build_app(ServeConfig(max_seconds=20.0, max_stream_s=20.0), models)
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def say(client: TestClient, text: str = TEXT, **body: Any) -> Any:
    return client.post("/v1/audio/speech", json={"input": text, "seed": 1, "response_format": "wav", **body})


def test_a_sentence_lasts_as_long_as_its_words_and_can_be_heard(client: TestClient, models: Models) -> None:
    pipeline = models.pipelines["melcodec-speech-say"]
    for speed in (1.0, 2.0):
        response = say(client, speed=speed)
        assert response.status_code == 200, response.text
        samples, rate = soundfile.read(io.BytesIO(response.content))
        assert rate == pipeline.spec.sample_rate
        assert len(samples) == round(pipeline.generator.duration_of(TEXT, speed) * rate)
        assert 0.01 < (samples**2).mean() ** 0.5 < 0.5
        assert abs(samples).max() <= 1.0


def test_a_stream_is_the_whole_and_two_users_get_their_own(client: TestClient) -> None:
    texts = ("Hello.", "I am well.")
    bodies = [{"text": text, "seed": seed, "response_format": "pcm"} for seed, text in enumerate(texts)]
    alone = [say(client, **body).content for body in bodies]
    assert len(set(alone)) == 2
    with ThreadPoolExecutor(4) as threads:
        at_once = threads.map(
            lambda body: say(client, **body).content, [*bodies, *({**b, "stream": True} for b in bodies)]
        )
        assert list(at_once) == alone * 2


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"text": "..."}, 400, "at least one letter or digit"),
        ({"text": "one two three four " * 100}, 400, "allowed are 20"),
        ({"voice": "alloy"}, 400, "no voice is called 'alloy' here: known are default"),
        ({"model": "melcodec-music-dit"}, 400, "this pipeline cannot speak"),
        ({"model": "tts-1"}, 404, "no pipeline is called 'tts-1' here"),
        ({"response_format": "aac"}, 400, "allowed: 'wav'"),
    ],
)
def test_what_it_cannot_say_is_refused(client: TestClient, body: dict[str, Any], status: int, reason: str) -> None:
    for stream in (False, True):
        response = say(client, **body, stream=stream)
        assert response.status_code == status
        assert reason in response.json()["error"]["message"]


def test_prompts_go_to_the_pipeline_that_follows_them(client: TestClient, models: Models) -> None:
    body = {"prompt": "calm piano", "seconds": 0.5, "options": {"steps": 1}}
    assert client.post("/generate", json=body).status_code == 200
    speaker = Models(pipelines=["melcodec-speech-say"], compute=ComputeConfig(device="cpu"))
    alone = TestClient(build_app(ServeConfig(), speaker), base_url="http://localhost", raise_server_exceptions=False)
    refused = alone.post("/generate", json=body)
    assert refused.status_code == 400
    assert "none of the pipelines here can follow a prompt" in refused.json()["error"]["message"]


def test_the_page_speaks_too(models: Models) -> None:
    pytest.importorskip("gradio")
    from latentune.pipelines.hosting.jobs import Jobs
    from latentune.pipelines.web.config import WebConfig
    from latentune.pipelines.web.generate import GenerateTab
    from latentune.pipelines.web.page import Page
    from latentune.pipelines.web.speak import SpeakTab

    page = Page(config=WebConfig(), models=models, jobs=Jobs(2, 60.0))
    tab = SpeakTab(page)
    assert list(tab.pipelines) == ["melcodec-speech-say"]
    assert list(GenerateTab(page).pipelines) == ["melcodec-music-dit"]
    (rate, audio), drawn, facts = tab.speak("melcodec-speech-say", TEXT, None, 1.0, "1", lambda *_, **__: None)
    assert len(audio) == round(models.pipelines["melcodec-speech-say"].generator.duration_of(TEXT) * rate)
    assert drawn.any()
    assert "**seed** 1 ·" in facts
