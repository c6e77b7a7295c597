"""The response that streams audio while it is made. Import it where FastAPI is installed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi.responses import StreamingResponse

from .live import ByteStream


class LiveResponse(StreamingResponse):
    """The bytes of a stream, which is closed at its end, or when the client goes away or stops reading.

    Args:
        live: the stream.
        threads: where its pieces are made.
        lead_s: seconds of audio that are made ahead of the clock at most; None: as fast as the client reads.
        options: of a response.
    """

    def __init__(self, live: ByteStream, threads: ThreadPoolExecutor, *, lead_s: float | None = None, **options: Any):
        self.live, self.threads, self.lead_s = live, threads, lead_s
        super().__init__(self._pieces(), **options)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.live.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        loop, began_s = asyncio.get_running_loop(), time.monotonic()
        while (data := await loop.run_in_executor(self.threads, self.live.next_bytes)) is not None:
            if data:
                yield data
            if self.lead_s is not None:
                await asyncio.sleep(max(0.0, self.live.made_s - self.lead_s - (time.monotonic() - began_s)))
