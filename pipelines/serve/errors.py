"""Errors of requests, in the shape of OpenAI's API."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ...core.errors import LatentuneError
from ..hosting.jobs import JobCancelledError, JobTimeoutError, QueueFullError
from ..hosting.limits import BodyTooLargeError, SlowClientError, error_body
from ..hosting.models import UnknownNameError

logger = logging.getLogger(__name__)

INVALID, BUSY, SERVER = "invalid_request_error", "rate_limit_error", "server_error"
PATHS = ("GET /health", "GET /v1/models", "POST /v1/audio/speech", "POST /generate", "POST /stream")
CLOSED = 499  # of a request whose client went away; nobody reads it


class RequestError(LatentuneError):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: what is wrong and what is allowed.
        param: field of the body.
        code: for programs.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


def error_response(error: Exception) -> JSONResponse:
    """Returns the response for an error; an unexpected one is logged, and the client learns nothing about it."""
    if isinstance(error, RequestError):
        return _response(error.status, str(error), INVALID, param=error.param, code=error.code)
    if isinstance(error, QueueFullError):
        headers = {"Retry-After": str(error.retry_after_s)}
        return _response(429, str(error), BUSY, code="queue_full", headers=headers)
    if isinstance(error, JobTimeoutError):
        return _response(504, str(error), SERVER, code="timeout")
    if isinstance(error, JobCancelledError):
        return _response(CLOSED, str(error), INVALID, code="cancelled")
    if isinstance(error, BodyTooLargeError):
        return _response(413, str(error), INVALID, code="too_large")
    if isinstance(error, SlowClientError):
        return _response(408, str(error), INVALID, code="slow_client")
    if isinstance(error, UnknownNameError):
        return _response(404, str(error), INVALID, param="model", code="model_not_found")
    if isinstance(error, HTTPException):  # no such path, or another method
        text = f"{error.detail}: the paths are {', '.join(PATHS)}"
        return _response(error.status_code, text, INVALID, headers=dict(error.headers or {}))
    if isinstance(error, (LatentuneError, ValueError, TypeError)):
        return _response(400, " ".join(str(error).split()), INVALID)
    logger.error("a request failed", exc_info=error)
    return _response(500, "the request failed inside the server: see its log", SERVER, code="internal")


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """Turns an exception of a handler into a response."""
    return error_response(error)


def _response(
    status: int,
    message: str,
    kind: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    content: dict[str, Any] = error_body(message, kind, param, code)
    return JSONResponse(content, status_code=status, headers=headers)
