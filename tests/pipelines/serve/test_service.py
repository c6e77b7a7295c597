"""Requests and responses of the service: audio that can be repeated, streams, and errors in OpenAI's shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentune.pipelines.data.audio.encoded import AUDIO_FORMATS, FORMATS
from latentune.pipelines.data.audio.read import read_audio
from latentune.pipelines.data.audio.write import write_audio

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient


@pytest.fixture
def client(make_service: Callable[..., Any]) -> TestClient:
    return TestClient(make_service(), base_url="http://localhost", raise_server_exceptions=False)


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


@pytest.mark.parametrize("format", AUDIO_FORMATS)
def test_a_prompt_becomes_a_file(client: TestClient, format: str, tmp_path: Path) -> None:
    body = {"model": "slow", "prompt": "calm", "seconds": 0.5, "seed": 3, "response_format": format}
    response = client.post("/generate", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == FORMATS[format].mime  # type: ignore[index]
    assert (response.headers["x-seed"], response.headers["x-sample-rate"]) == ("3", "4000")
    if format == "pcm":
        assert len(response.content) == 2000 * 2 * 2
        return
    (tmp_path / "a").write_bytes(response.content)
    audio, rate = read_audio(tmp_path / "a")
    assert rate == (8000 if format in ("opus", "mp3") else 4000)
    assert audio.shape == (2, rate // 2)
    assert 0.05 < audio.square().mean().sqrt() < 0.15


def test_the_seed_of_a_response_repeats_it(client: TestClient) -> None:
    first = client.post("/generate", json={"prompt": "calm"})
    seed = int(first.headers["x-seed"])
    again = client.post("/generate", json={"prompt": "calm", "seed": seed})
    other = client.post("/generate", json={"prompt": "calm", "seed": (seed + 1) % 2**32})
    assert first.content == again.content != other.content


def test_options_and_conditions_reach_the_generator(make_service: Callable[..., Any]) -> None:
    app = make_service()
    body = {"options": {"guidance": 4, "negative": "noise", "strength": 0.5}, "conditions": {"bpm": 120}}
    assert TestClient(app, base_url="http://localhost").post("/generate", json=body).status_code == 200
    call = app.state.service.models.pipelines["slow"].generator.calls[-1]
    assert call["options"].guidance_scale == 4
    assert call["options"].negative_prompt == "noise"
    assert call["options"].strength == 0.5
    assert call["conditions"].values["bpm"] == [120]


def test_a_stream_is_what_a_call_gives(client: TestClient, make_service: Callable[..., Any]) -> None:
    body = {"prompt": "calm", "seconds": 1.0, "seed": 5, "response_format": "pcm"}
    streamed = client.post("/stream", json=body)
    assert streamed.status_code == 200, streamed.text
    whole = client.post("/generate", json={"model": "live", **body})
    assert len(streamed.content) == 4000 * 2 * 2
    assert streamed.content == whole.content
    assert streamed.headers["x-seed"] == "5"
    other = client.post("/stream", json={**body, "seed": 6})
    assert other.content != streamed.content


def test_a_text_is_said_whole_and_sentence_by_sentence(client: TestClient) -> None:
    body = {"model": "voice", "input": "One two three. Four.", "seed": 1, "response_format": "pcm"}
    whole = client.post("/v1/audio/speech", json=body)
    assert whole.status_code == 200, whole.text
    assert len(whole.content) == 1600 * 2 * 2
    assert client.post("/v1/audio/speech", json={**body, "stream": True}).content == whole.content
    assert len(client.post("/v1/audio/speech", json={**body, "speed": 2.0}).content) == 800 * 2 * 2
    default = client.post("/v1/audio/speech", json={"input": "One."})  # the first pipeline that speaks, as MP3
    assert default.headers["content-type"] == "audio/mpeg"


def test_a_voice_is_one_that_the_service_was_started_with(make_service: Callable[..., Any], tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", torch.full((2, 4000), 0.5), 4000, "FLOAT")
    client = TestClient(make_service(voices={"anna": str(tmp_path / "a.wav")}), base_url="http://localhost")
    body = {"input": "One.", "voice": "anna", "response_format": "pcm"}
    assert client.post("/v1/audio/speech", json=body).content == 800 * (16384).to_bytes(2, "little")
    error = error_of(client.post("/v1/audio/speech", json={**body, "voice": str(tmp_path / "a.wav")}), 400)
    assert "known are default, anna" in error["message"]
    assert error["param"] == "voice"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "lacks the required key(s) input"),
        ({"input": " "}, "input is empty"),
        ({"input": "One.", "speed": 5}, "speed must lie in 0.25..4, got 5"),
        ({"input": "one " * 30}, "takes about 3 s, allowed are 2"),
        ({"input": "x" * 10_001}, "allowed are 10000"),
        ({"input": "One.", "instructions": "softly"}, "instructions"),
    ],
)
def test_what_cannot_be_said_is_refused(client: TestClient, body: dict[str, Any], reason: str) -> None:
    assert reason in error_of(client.post("/v1/audio/speech", json=body), 400)["message"]


def test_a_service_says_what_it_has(client: TestClient) -> None:
    assert client.get("/health").json() == {
        "status": "ok",
        "requests": 0,
        "queue": 8,
        "models": ["slow", "live", "voice"],
    }
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["slow", "live", "voice"]
    assert client.get("/v1/models/live").json() == listed["data"][1]
    schema = client.get("/openapi.json").json()["paths"]["/generate"]["post"]["requestBody"]["content"]
    properties = schema["application/json"]["schema"]["properties"]
    assert properties["seconds"]["type"] == "number"
    assert properties["response_format"]["enum"] == list(AUDIO_FORMATS)


WRONG = [
    ({"promt": "calm"}, "did you mean 'prompt'"),
    ({"prompt": 3}, "prompt: expected str"),
    ({"seconds": 3}, "at most 2 here, got 3"),
    ({"seconds": 0}, "above 0"),
    ({"seed": -1}, "seed must be a whole number"),
    ({"seed": 1.5}, "seed"),
    ({"options": {"steps": 3}}, "steps is not an option of a SlowGenerator"),
    ({"options": {"strength": "much"}}, "strength: expected float"),
    ({"conditions": {"mood": "sad"}}, "mood"),
    ({"conditions": {"text": "sad"}}, "has an argument of its own"),
    ({"response_format": "aac"}, "allowed: 'wav'"),
    ({"prompt": "x" * 10_001}, "10001 characters, allowed are 10000"),
    ([], "must be a JSON object"),
]


@pytest.mark.parametrize(("body", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_a_wrong_body_is_refused_with_the_reason(client: TestClient, body: Any, reason: str) -> None:
    error = error_of(client.post("/generate", json=body), 400)
    assert reason in error["message"]
    assert error["type"] == "invalid_request_error"


def test_what_is_no_request_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert "not JSON" in error_of(client.post("/generate", content=b"{", headers=headers), 400)["message"]
    nested = b"[" * 100_000
    assert "not JSON" in error_of(client.post("/generate", content=nested, headers=headers), 400)["message"]
    text = client.post("/generate", content=b"{}", headers={"Content-Type": "text/plain"})
    assert "application/json, got text/plain" in error_of(text, 415)["message"]
    unknown = error_of(client.post("/generate", json={"model": "../../etc"}), 404)
    assert (unknown["param"], unknown["code"]) == ("model", "model_not_found")
    error_of(client.get("/v1/models/fast"), 404)
    assert "POST /generate" in error_of(client.get("/nothing"), 404)["message"]
    error_of(client.get("/generate"), 405)
    stream = error_of(client.post("/stream", json={"model": "slow"}), 400)
    assert "cannot stream" in stream["message"]


def test_a_pipeline_that_fails_says_nothing_of_the_server(
    make_service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_service()

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("secret of /root")

    monkeypatch.setattr(app.state.service.models.pipelines["slow"].generator, "sample", fail)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    error = error_of(client.post("/generate", json={}), 500)
    assert error["type"] == "server_error"
    assert "secret" not in json.dumps(error)
    assert "secret of /root" in caplog.text
    assert client.get("/health").json()["requests"] == 0
