"""A service of a slow pipeline and one that streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def make_service() -> Callable[..., Any]:
    """Builds the application of a service with the given limits; its pipelines are `slow`, `live` and `voice`."""
    pytest.importorskip("fastapi")
    from served import models_of, slow_pipeline, speaking_pipeline, stream_pipeline

    from latentune.pipelines.serve.app import build_app
    from latentune.pipelines.serve.config import ServeConfig

    def build(seconds: float = 0.0, **limits: Any) -> Any:
        models = models_of(slow=slow_pipeline(seconds), live=stream_pipeline(), voice=speaking_pipeline())
        return build_app(ServeConfig(**{"max_seconds": 2.0, "max_stream_s": 4.0, **limits}), models)

    return build
