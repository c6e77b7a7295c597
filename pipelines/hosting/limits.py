"""Limits of HTTP requests: the hosts that may be asked for, the size of a body, and clients that stand still (ASGI)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ...core.errors import LatentuneError
from .config import HostConfig

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]
STILL_S = 20.0  # that a client may take to send or to read a piece
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class BodyTooLargeError(LatentuneError):
    """A request whose body is larger than is allowed."""


class SlowClientError(LatentuneError):
    """A client that neither sends nor reads."""


class RequestLimits:
    """An ASGI application with limits around it.

    A server of the loopback answers to the names of the loopback alone, so that a web page of somebody else cannot
    reach it by a domain that it points there (DNS rebinding).

    Args:
        app: the application.
        config: with the host and the largest body.
        still_s: seconds that a client may take to send or to read a piece.
    """

    def __init__(self, app: AsgiApp, config: HostConfig, *, still_s: float = STILL_S):
        self.app, self.config, self.still_s = app, config, still_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.config.is_loopback and _host_name(headers.get(b"host", "")) not in (*LOOPBACK_NAMES, self.config.host):
            await _refuse(send, 403, "this server answers to localhost alone")
            return
        largest, length = self.config.max_upload_bytes, headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > largest:
            await _refuse(send, 413, f"the body has {length} bytes, allowed are {largest}")
            return
        reader = _Reader(send, self.still_s)
        try:
            await self.app(scope, self._limited_receive(receive, largest), reader.send)
        except Exception:
            if not reader.gone:  # else the application can say nothing more to it, and has freed what it held
                raise
            logger.info("%s %s: the client read nothing for %g s", scope["method"], scope["path"], self.still_s)

    def _limited_receive(self, receive: Receive, largest: int) -> Receive:
        received, complete = 0, False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()  # waits until the client goes away
            try:
                message = await asyncio.wait_for(receive(), self.still_s)
            except TimeoutError as error:
                raise SlowClientError(f"no part of the body arrived for {self.still_s:g} s") from error
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > largest:
                raise BodyTooLargeError(f"the body has more than {largest} bytes")
            return message

        return limited


class _Reader:
    """A client that is sent to, unless it stops reading."""

    def __init__(self, send: Send, still_s: float):
        self._send, self._still_s = send, still_s
        self.gone = False

    async def send(self, message: Message) -> None:
        """Raises SlowClientError if the client does not take the message in time."""
        try:
            await asyncio.wait_for(self._send(message), self._still_s)
        except TimeoutError as error:
            self.gone = True
            raise SlowClientError(f"the client read nothing for {self._still_s:g} s") from error


def error_body(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Returns an error in the shape of OpenAI's API.

    Args:
        message: for people.
        kind: `invalid_request_error`, `rate_limit_error` or `server_error`.
        param: the field that is wrong.
        code: for programs, such as `queue_full`.
    """
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _host_name(header: str) -> str:
    """Returns a Host header without its port."""
    name, separator, port = header.rpartition(":")
    return (name if separator and port.isdigit() else header).lower()


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps(error_body(text, "invalid_request_error")).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
