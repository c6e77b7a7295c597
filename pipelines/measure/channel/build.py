"""The systems of an experiment, built from its config: streams, labellings, receivers, and the audio they need."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from ....core.errors import AudioError
from ....tokenizers.base import AudioTokenizer, Encoded
from ...data.audio.find import find_distinct_audio, left_out
from ...data.audio.item import AudioItem
from ..codecs.audio import read_reference
from ..codecs.rvq import RVQBaseline, matching_codebooks
from .channel import LEVEL_CHANNEL, PACKET_CHANNEL
from .config import RobustnessConfig
from .labelling import Labelling
from .soft import count_usage
from .systems import SOFT, OwnTokens, RVQTokens, System, TokenStream

logger = logging.getLogger(__name__)


class Sources:
    """Audio read and encoded by one codec; files that cannot be read are listed in `failures`."""

    def __init__(self, tokenizer: AudioTokenizer):
        self.tokenizer = tokenizer
        self.failures: list[dict[str, str]] = []  # path, reason
        self._encoded: dict[str, list[Encoded]] = {}

    def read(self, item: AudioItem, max_duration_s: float | None = None) -> Tensor | None:
        """Returns audio [C, N] at the codec's rate and channels; None if it cannot be read."""
        spec = self.tokenizer.spec
        try:
            return read_reference(item, spec.sample_rate, spec.channels, max_duration_s)
        except (AudioError, ValueError) as error:
            failure = left_out(item.path, error)
            if failure not in self.failures:
                self.failures.append(failure)
            return None

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Encoded:
        """Returns audio [C, N] encoded as a batch of one."""
        return self.tokenizer.encode(audio[None].to(self.tokenizer.device), self.tokenizer.spec.sample_rate)

    def encode_all(self, source: str) -> list[Encoded]:
        """Returns every file of `source` that can be read, encoded once; raises AudioError if there is none."""
        if source not in self._encoded:
            items = sorted(find_distinct_audio(source), key=lambda item: item.name)
            heard = (self.read(item) for item in items)
            self._encoded[source] = [self.encode(audio) for audio in heard if audio is not None]
        if not self._encoded[source]:
            raise AudioError(f"no audio file of {source} could be read")
        return self._encoded[source]

    def usage(self, stream: TokenStream, source: str, labelling: Labelling) -> list[Tensor]:
        """Returns a prior: how often audio uses each level of each word.

        Args:
            stream: of tokens.
            source: a file, folder or manifest.
            labelling: of the words.
        """
        tokens = torch.cat([stream.tokens(encoded) for encoded in self.encode_all(source)])
        return count_usage(tokens, labelling)


def build_systems(config: RobustnessConfig, tokenizer: AudioTokenizer, sources: Sources) -> list[System]:
    """Returns every labelling of the codec's own tokens, and of an RVQ if asked for, with every receiver.

    Args:
        config: of the experiment.
        tokenizer: the codec.
        sources: reads and encodes audio for priors and the RVQ.
    """
    own = OwnTokens(tokenizer)
    systems = []
    for code in config.labellings:
        systems += _receivers(config, own, Labelling(own.levels, code), sources)  # type: ignore[arg-type]
    if config.rvq_audio is not None:
        rvq = RVQTokens(tokenizer, _fit_rvq(config, tokenizer, sources.encode_all(config.rvq_audio)))
        systems += _receivers(config, rvq, Labelling(rvq.levels), sources)
    return systems


def _receivers(config: RobustnessConfig, stream: TokenStream, labelling: Labelling, sources: Sources) -> list[System]:
    """All ways to receive one labelling of a stream."""
    packets = config.channel == PACKET_CHANNEL
    label = stream.name if packets or not stream.ordered else labelling.code
    common: dict[str, Any] = {"stream": stream, "labelling": labelling}
    if config.channel == LEVEL_CHANNEL:
        return [System(name=f"moved by {d}", distance=d, **common) for d in config.level_distances]
    if packets:
        fallback = _silence(stream, sources)
        systems = [
            System(name=f"{label}, {way}", receiver=way, fallback=fallback, **common) for way in config.concealments
        ]
    else:
        systems = [System(name=label, **common)]
    if config.soft:
        prior = _usual_prior(config, stream, labelling, sources)
        systems.append(System(name=f"{label}, {SOFT}", receiver=SOFT, priors=prior, **common))
        if config.prior_audio is not None:
            prior = sources.usage(stream, config.prior_audio, labelling)
            systems.append(System(name=f"{label}, {SOFT} with prior", receiver=SOFT, priors=prior, **common))
    return systems


def _usual_prior(
    config: RobustnessConfig, stream: TokenStream, labelling: Labelling, sources: Sources
) -> list[Tensor] | None:
    """The prior of a soft receiver by default: all levels alike, but for an RVQ the use of its entries in the audio
    that it was fitted on. Without it, a rare entry far from all others pulls every mean."""
    if stream.ordered or config.rvq_audio is None:
        return None
    return sources.usage(stream, config.rvq_audio, labelling)


def _fit_rvq(config: RobustnessConfig, tokenizer: AudioTokenizer, encoded: list[Encoded]) -> RVQBaseline:
    latents = torch.cat([one.latents[0].cpu().float() for one in encoded])
    size = config.rvq_codebook_size
    count = config.rvq_codebooks or matching_codebooks(tokenizer.spec, size)
    logger.info("fitting %d codebooks of %d entries to %d latent frames", count, size, len(latents))
    return RVQBaseline.fit(latents, num_codebooks=count, codebook_size=size, seed=config.seed)


def _silence(stream: TokenStream, sources: Sources) -> Tensor:
    """Latents [F, D] of a chunk of silence, through the stream's tokens."""
    spec = sources.tokenizer.spec
    encoded = sources.encode(torch.zeros(spec.channels, spec.max_samples(1)))
    return stream.latents(stream.tokens(encoded))[: spec.chunk_latents]
