"""The HTTP server: it listens, and when it is stopped, running requests finish."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable

from ...core.errors import OutputError
from ...core.extras import import_extra
from .config import HostConfig
from .limits import AsgiApp, RequestLimits

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 10
BACKLOG = 128  # connections that wait to be accepted


def run_server(app: AsgiApp, config: HostConfig, extra: str, *, started: Callable[[str], None]) -> None:
    """Serves an application until SIGINT or SIGTERM; requests that are running then get `stop_s` to finish.

    Args:
        app: an ASGI application.
        config: where to listen, and the limits.
        extra: of pyproject.toml that brings the server.
        started: called with the address, such as `http://127.0.0.1:8000`, once connections are accepted.

    Raises:
        OutputError: the address is taken or not of this machine.
        MissingPackageError: uvicorn is not installed.
    """
    uvicorn = import_extra("uvicorn", extra, "a server")
    if not config.is_loopback:
        logger.warning(
            "%s is not the loopback: whoever reaches this machine can use the server, which asks for no password",
            config.host,
        )
    with _listen(config) as listening:
        settings = uvicorn.Config(
            RequestLimits(app, config),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=math.ceil(config.stop_s),
        )
        host = f"[{config.host}]" if ":" in config.host else config.host
        started(f"http://{host}:{listening.getsockname()[1]}")
        try:
            uvicorn.Server(settings).run(sockets=[listening])
        except KeyboardInterrupt:
            logger.info("stopped")  # uvicorn raises the signal again after everything has ended


def _listen(config: HostConfig) -> socket.socket:
    """Returns a socket that listens; the port is known before the application starts."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        text = f"cannot listen on {config.host}:{config.port} ({reason}): choose another --host or --port"
        raise OutputError(error.errno or 0, text) from error
    return listening
