"""A page of pipelines that generate, stream and speak, and of a codec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def models(tiny_melcodec: Any) -> Any:
    """The models of a page: pipelines `slow`, `live` and `voice`, and the tokenizer `mel`."""
    pytest.importorskip("gradio")
    from served import models_of, slow_pipeline, speaking_pipeline, stream_pipeline

    from latentune.pipelines.hosting.models import Named

    models = models_of(slow=slow_pipeline(0.0), live=stream_pipeline(), voice=speaking_pipeline())
    models.tokenizers = Named("tokenizer", ["mel"], {"mel": tiny_melcodec}.__getitem__)
    return models


@pytest.fixture
def page(models: Any) -> Any:
    """The parts that the tabs share."""
    from latentune.pipelines.hosting.jobs import Jobs
    from latentune.pipelines.web.config import WebConfig
    from latentune.pipelines.web.page import Page

    config = WebConfig(max_seconds=2.0, max_stream_s=3.0, queue=2)
    return Page(config=config, models=models, jobs=Jobs(config.queue, config.timeout_s))


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """The path of half a second of noise, at 4 kHz in stereo, as the page hands it over."""
    from latentune.pipelines.data.audio.write import write_audio

    generator = torch.Generator().manual_seed(0)
    write_audio(tmp_path / "upload.wav", 0.1 * torch.randn(2, 2000, generator=generator), 4000)
    return str(tmp_path / "upload.wav")
