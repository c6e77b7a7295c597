"""The HTTP server: it listens, and when it is stopped, running requests finish."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable

from ...core.errors import LatentuneError
from ...core.extras import import_extra
from .config import HostConfig
from .limits import AsgiApp, RequestLimits

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 10
BACKLOG = 128  # connections that wait to be accepted


class AddressError(LatentuneError):
    """An address that a server cannot have."""


def run_server(
    make_app: Callable[[], AsgiApp], config: HostConfig, extra: str, *, started: Callable[[str], None]
) -> None:
    """Serves an application until SIGINT or SIGTERM; requests that are running then get `stop_s` to finish.

    Args:
        make_app: loads and returns an ASGI application. It is called once the address is known to be free.
        config: where to listen, and the limits.
        extra: of pyproject.toml that brings the server.
        started: called with the address, such as `http://127.0.0.1:8000`, once connections are accepted.

    Raises:
        AddressError: it is taken, or not an address of this machine.
        MissingPackageError: uvicorn is not installed.
    """
    uvicorn = import_extra("uvicorn", extra, "a server")
    if not config.is_loopback:
        logger.warning(
            "%s is not the loopback: whoever reaches this machine can use the server, which asks for no password",
            config.host,
        )
    with _bound(config) as listening:
        settings = uvicorn.Config(
            RequestLimits(make_app(), config),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=math.ceil(config.stop_s),
        )
        listening.listen(BACKLOG)  # only now, so that nobody waits for an application that is not there yet
        host = f"[{config.host}]" if ":" in config.host else config.host
        started(f"http://{host}:{listening.getsockname()[1]}")
        try:
            uvicorn.Server(settings).run(sockets=[listening])
        except KeyboardInterrupt:
            logger.info("stopped")  # uvicorn raises the signal again after everything has ended


def _bound(config: HostConfig) -> socket.socket:
    """Returns a socket that has the address; its port is known before the application starts."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        text = f"cannot listen on {config.host}:{config.port} ({reason}): choose another --host or --port"
        raise AddressError(text) from error
    return listening
