"""How far a generator's samples are from real audio, while it trains: the Fréchet distance at intervals."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ...generators.base import Conditions, LatentGenerator
from ..data.audio.convert import resample
from ..measure.embedders import load_embedder
from ..measure.metrics import RunningFrechet
from ..measure.sets.config import STATISTICS_SUFFIX, EvaluateConfig
from ..measure.sets.gather import gather, load_statistics
from ..measure.sets.sources import open_source
from .build import Task
from .config import FadConfig

logger = logging.getLogger(__name__)

SEED = 0  # of the samples' noise: the same at every measurement


class SampleDistance:
    """Samples, decodes, embeds and compares; the reference is embedded once.

    Raises:
        ConfigError: the model is no generator, or no tokenizer is named that decodes its samples.
        FileNotFoundError, ValueError: no reference audio.
        MismatchError: saved statistics of another embedder.
    """

    def __init__(self, config: FadConfig, task: Task):
        if task.tokenizer is None or not isinstance(task.model, LatentGenerator):
            raise ConfigError("fad_every needs a generator, and data.tokenizer to decode its samples with")
        self.config, self.tokenizer = config, task.tokenizer
        self.embedder = load_embedder(config.embedder, checkpoint=config.checkpoint)
        if config.reference.endswith(STATISTICS_SUFFIX):
            found, _ = load_statistics(config.reference, self.embedder)
        else:
            source = open_source(config.reference, config.reference_where or None)
            settings = EvaluateConfig(reference=config.reference, generated="samples", max_files=config.max_files)
            found, _ = gather(source, config.reference, settings, self.embedder)
        self.running = RunningFrechet(self.embedder.dim, found.statistics)
        logger.info("fad_%s against %d windows of %s", self.embedder.name, found.statistics.num, config.reference)

    @torch.no_grad()
    def measure(self, model: LatentGenerator) -> dict[str, float]:
        """The distance of `model`'s samples, which is in eval mode, as `valid_fad_<embedder>`."""
        generator = torch.Generator().manual_seed(SEED)
        self.running.reset()
        for begin in range(0, self.config.num, self.config.batch_size):
            numbers = range(begin, min(begin + self.config.batch_size, self.config.num))
            for audio in self._samples(model, numbers, generator):
                mono = resample(audio.mean(0, keepdim=True), self.tokenizer.spec.sample_rate, self.embedder.sample_rate)
                self.running.update(self.embedder.embed(mono[0]))
        return {f"valid_fad_{self.embedder.name}": self.running.compute()}

    def _samples(self, model: LatentGenerator, numbers: range, generator: torch.Generator) -> list[Tensor]:
        """Audio [C, N] of the samples of these numbers; prompts and labels are taken in turn."""
        config, tokenizer = self.config, self.tokenizer
        prompts = [config.prompts[number % len(config.prompts)] for number in numbers]
        labels = [config.labels[number % len(config.labels)] for number in numbers] if config.labels else None
        lengths = torch.full((len(prompts),), round(config.seconds * tokenizer.spec.sample_rate))
        conditions = Conditions.of(prompts, config.seconds, labels)
        made = model.sample(conditions, lengths, generator=generator, **config.options)
        streams = {"latents": made.latents} if made.tokens is None else {"tokens": made.tokens}
        frames = {name: value.to(tokenizer.device) for name, value in streams.items() if value is not None}
        audio = tokenizer.decode(**frames, lengths_samples=made.lengths_samples, generator=generator).float().cpu()
        # a model in its first steps may give what is no audio
        return [torch.nan_to_num(one[:, : int(n)]) for one, n in zip(audio, made.lengths_samples, strict=True)]
