"""The options that the web page and the HTTP service share."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ...core.compute import ComputeConfig
from ...core.config import option


@dataclass(frozen=True, kw_only=True)
class HostConfig(ComputeConfig):
    """Where to listen, and the limits of what is accepted."""

    host: str = option(
        "127.0.0.1",
        "Address to listen on. The default is reached from this machine alone; 0.0.0.0 is reached from every machine "
        "of the network, without a password.",
    )
    port: int = option(8000, "Port to listen on; 0 takes a free one.")
    queue: int = option(8, "Largest number of requests that run or wait; further ones are refused. One runs at a time.")
    timeout_s: float = option(120.0, "Seconds that a request may wait and run; for a stream, each piece of it.")
    max_seconds: float = option(60.0, "Longest audio in seconds that is generated, and that is taken from a recording.")
    max_stream_s: float = option(600.0, "Longest stream in seconds.")
    max_upload_mb: float = option(20.0, "Largest body of a request, and largest recording, in megabytes.")
    stop_s: float = option(30.0, "Seconds that running requests get to finish when the server is stopped.")

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must lie in 0..65535, got {self.port}")
        if self.queue < 1:
            raise ValueError(f"queue must be at least 1, got {self.queue}")
        for name in ("timeout_s", "max_seconds", "max_stream_s", "max_upload_mb", "stop_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")

    @property
    def max_upload_bytes(self) -> int:
        """Largest body of a request."""
        return int(self.max_upload_mb * 1e6)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
