"""The service under load on the loopback: limits, timeouts, clients that go away, and an orderly stop."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("fastapi")
from served import post, running

from latentune.pipelines.hosting.limits import RequestLimits


def wait_until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raw_post(address: str, path: str, body: dict[str, Any]) -> socket.socket:
    """A connection that has sent a request and read nothing."""
    host, port = address.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + data)
    return connection


def test_many_requests_at_once_have_turns_and_each_gets_its_own_audio(make_service: Callable[..., Any]) -> None:
    app = make_service(seconds=0.02)
    bodies = [{"seed": seed % 5, "seconds": 0.05, "prompt": "x" * (seed % 5)} for seed in range(30)]
    with running(RequestLimits(app, app.state.service.config)) as (address, _), ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(lambda body: post(f"{address}/generate", body), bodies))
    assert [status for status, _, _ in responses] == [200] * 30
    generator = app.state.service.models.pipelines["slow"].generator
    assert generator.most == 1
    assert generator.done == 30
    for seed in range(5):
        same = {data for body, (_, _, data) in zip(bodies, responses, strict=True) if body["seed"] == seed}
        assert len(same) == 1
    assert len({data for _, _, data in responses}) == 5
    assert len(app.state.service.jobs) == 0


def test_more_requests_than_places_are_refused_with_a_time_to_wait(make_service: Callable[..., Any]) -> None:
    app = make_service(seconds=0.2, queue=3)
    with running(app) as (address, _), ThreadPoolExecutor(12) as threads:
        responses = list(threads.map(lambda _: post(f"{address}/generate", {"seconds": 0.05}), range(12)))
    statuses = [status for status, _, _ in responses]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 3
    for status, headers, data in responses:
        if status == 429:
            error = json.loads(data)["error"]
            assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
            assert int(headers["retry-after"]) >= 1


def test_a_request_that_takes_too_long_ends(make_service: Callable[..., Any]) -> None:
    app = make_service(seconds=2.0, timeout_s=0.2)
    began_s = time.monotonic()
    with running(app) as (address, _):
        status, _, data = post(f"{address}/generate", {})
    assert (status, json.loads(data)["error"]["code"]) == (504, "timeout")
    assert time.monotonic() - began_s < 1.9  # it ended between two steps, not at the end
    assert app.state.service.models.pipelines["slow"].generator.done == 0


def test_a_client_that_goes_away_frees_its_place(make_service: Callable[..., Any]) -> None:
    app = make_service(seconds=3.0, queue=2)
    service = app.state.service
    with running(app) as (address, _):
        connections = [raw_post(address, "/generate", {}) for _ in range(2)]
        wait_until(lambda: len(service.jobs) == 2)
        assert post(f"{address}/generate", {})[0] == 429
        for connection in connections:
            connection.close()
        wait_until(lambda: len(service.jobs) == 0)
        assert service.models.pipelines["slow"].generator.done == 0
        connection = raw_post(address, "/stream", {"response_format": "wav"})
        connection.recv(64)
        connection.close()
        wait_until(lambda: len(service.jobs) == 0)


def test_a_client_that_sends_no_body_is_refused(make_service: Callable[..., Any]) -> None:
    app = make_service()
    with running(RequestLimits(app, app.state.service.config, still_s=0.2)) as (address, _):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9"
            connection.sendall(f"{head}\r\n\r\n{{".encode())
            assert b" 408 " in connection.recv(64)


def test_a_client_that_reads_no_more_loses_its_place(make_service: Callable[..., Any]) -> None:
    app = make_service()
    service, sent = app.state.service, []
    body = json.dumps({"response_format": "wav"}).encode()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/stream", "query_string": b"", "headers": headers}
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 2:
            assert len(service.jobs) == 1
            await asyncio.Event().wait()

    asyncio.run(RequestLimits(app, service.config, still_s=0.1)(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", *["http.response.body"] * 2]
    assert len(service.jobs) == 0


def test_bodies_and_hosts_that_are_not_allowed_are_refused(make_service: Callable[..., Any]) -> None:
    app = make_service(max_upload_mb=0.001)
    with running(RequestLimits(app, app.state.service.config)) as (address, _):
        status, _, data = post(f"{address}/generate", {"prompt": "x" * 1100})
        assert (status, "allowed are 1000" in json.loads(data)["error"]["message"]) == (413, True)
        host, port = address.removeprefix("http://").split(":")
        for text, status in (
            (f"POST /generate HTTP/1.1\r\nHost: evil.example:{port}\r\nContent-Length: 0\r\n\r\n", b" 403 "),
            (
                f"POST /generate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                "Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + " " * 2000 + "\r\n0\r\n\r\n",
                b" 413 ",
            ),
        ):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(text.encode())
                assert status in connection.recv(64)


def test_a_server_that_stops_finishes_what_runs(make_service: Callable[..., Any]) -> None:
    app = make_service(seconds=0.5)
    results: list[Any] = []
    with running(app, stop_s=5.0) as (address, server):
        thread = threading.Thread(target=lambda: results.append(post(f"{address}/generate", {"seconds": 0.1})))
        thread.start()
        wait_until(lambda: len(app.state.service.jobs) == 1)
        server.should_exit = True
        thread.join()
    status, _, data = results[0]
    assert (status, len(data)) == (200, 1600 + 78)
    with pytest.raises(OSError, match="refused"):
        post(f"{address}/generate", {})
