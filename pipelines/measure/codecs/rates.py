"""Rate and distortion: a codec's latents quantized again, by scalar levels and by residual codebooks of many rates.

Encoder and decoder stay as they are, so that differences are those of the quantizers. Shape letters: T latent frames, D
latent width, C channels, N samples.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ....core.errors import AudioError, ConfigError
from ....layers.fsq import latents_to_values, values_to_latents
from ....tokenizers.base import AudioTokenizer, Encoded
from ...data.audio.find import find_distinct_audio, left_out
from ..results import ResultsTable, comparison, summary_records
from ..results.findings import Findings
from .audio import read_reference
from .figures.catalog import PAIR_FIGURES
from .figures.tokens import TokenCounts
from .plots import rates_png
from .rvq import RVQBaseline
from .setup import Setup

logger = logging.getLogger(__name__)

FSQ, RVQ, OWN = "fsq", "rvq", "own"
RATES = ("bitrate_bps", "entropy_bitrate_bps")


class Quantizer(Protocol):
    """Tokens of latents, and back."""

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """As in `TokenizerSpec`."""
        ...

    def encode(self, latents: Tensor) -> Tensor:
        """Returns tokens [T, Q] of latents [T, D]."""
        ...

    def decode(self, tokens: Tensor) -> Tensor:
        """Returns latents [T, D] of tokens [T, Q]."""
        ...


class Cells:
    """Each dimension's range [-1, 1] of values cut into equal cells, of which the middle is decoded."""

    def __init__(self, num_levels: int, width: int, latent_scale: float):
        self.num_levels, self.width, self.latent_scale = num_levels, width, latent_scale

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """As in `TokenizerSpec`: each dimension is a codebook."""
        return ((self.num_levels,),) * self.width

    def encode(self, latents: Tensor) -> Tensor:
        """Returns tokens [T, D] of latents [T, D]."""
        cells = (latents_to_values(latents, self.latent_scale) + 1) / 2 * self.num_levels
        return cells.floor().long().clamp(0, self.num_levels - 1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Returns latents [T, D] of tokens [T, D]."""
        return values_to_latents((2 * tokens + 1) / self.num_levels - 1, self.latent_scale)


class Requantized:
    """Systems that quantize one codec's latents in other ways; each file is encoded once."""

    def __init__(self, tokenizer: AudioTokenizer, seed: int, options: dict[str, Any]):
        self.tokenizer, self.seed, self.options = tokenizer, seed, options
        self.counts: dict[str, TokenCounts] = {}  # by system, of the tokens of all files
        self._last: tuple[Tensor, Encoded] | None = None

    def run(self, audio: Tensor, sample_rate: int, *, name: str, quantizer: Quantizer) -> Tensor:
        """Returns audio [C, N] through the codec and a quantizer; see `systems.System`."""
        codec = self.tokenizer
        if self._last is None or self._last[0] is not audio:
            self._last = audio, codec.encode(audio[None].to(codec.device), sample_rate)
        encoded = self._last[1]
        tokens = quantizer.encode(encoded.latents[0].float().cpu())
        self.counts.setdefault(name, TokenCounts(quantizer.levels)).add(tokens)
        noise = torch.Generator().manual_seed(self.seed)
        return codec.decode(
            latents=quantizer.decode(tokens)[None].to(codec.device),
            lengths_samples=encoded.lengths_samples,
            gain_db=encoded.gain_db,
            generator=noise,
            **self.options,
        )[0].cpu()


def rates_experiment(setup: Setup) -> Findings:
    """Measures the codec's own streams, its latents in cells, and in residual codebooks fitted to other audio.

    Raises:
        ConfigError: no quantizer to compare, or no figure that compares sounds.
        AudioError: no file could be read.
        ValueError: too little audio for codebooks of that size.
    """
    config = setup.config
    figures = [name for name in config.figures if name in PAIR_FIGURES]
    quantizers = _quantizers(setup)
    if not quantizers or not figures:
        raise ConfigError("nothing to compare: give levels or fit_audio, and a figure that compares sounds")
    systems = Requantized(setup.tokenizer, config.seed, config.options)
    baselines = {name: partial(systems.run, name=name, quantizer=one) for name, one in quantizers.items()}
    table = setup.measure(baselines=baselines, figures=figures, embedder=setup.embedder)
    _add_rates(setup, table, systems)
    if config.fit_audio is None:
        table.warnings.append("no residual codebooks: fit_audio names the audio to fit them on, not the one measured")
    shown = [name for name in table.figures if not name.startswith("fad_")]
    leading: dict[str, list[Any]] = {"system": list(table.systems)}
    leading |= {name: [_rounded(facts.get(name)) for facts in table.systems.values()] for name in RATES}
    ends = (f"{name}{end}" for name in table.figures for end in ("", "_low", "_high"))
    return Findings(
        name="rates",
        title=setup.page_title("rates"),
        table=table,
        columns=("system", "quantizer", *RATES, *ends),
        rows=[{**row, **table.systems[row["system"]]} for row in summary_records(table)],
        grids=[
            comparison(
                table,
                figures=list(table.figures),
                leading=leading,
                transpose=False,
                caption=f"means and {config.confidence:.0%} intervals",
            )
        ],
        draw=partial(rates_png, table=table, figures=shown, title=setup.plot_title(table, intervals=False)),
    )


def _quantizers(setup: Setup) -> dict[str, Quantizer]:
    config, spec = setup.config, setup.tokenizer.spec
    scale = float(setup.tokenizer.settings.latent_scale)
    found: dict[str, Quantizer] = {f"{FSQ}, {n} levels": Cells(n, spec.latent_dim, scale) for n in config.levels}
    if config.fit_audio is None:
        return found
    latents = _latents(setup, config.fit_audio)
    # stages are fitted one after the other, so that the first ones of the largest are those of all others
    most = RVQBaseline.fit(
        latents, num_codebooks=max(config.codebooks), codebook_size=config.codebook_size, seed=config.seed
    )
    for count in config.codebooks:
        found[f"{RVQ}, {count} codebooks"] = RVQBaseline(most.codebooks[:count])
    return found


@torch.no_grad()
def _latents(setup: Setup, source: str) -> Tensor:
    """Latents [T, D] of all files of a source that can be read."""
    codec, found = setup.tokenizer, []
    items = sorted(find_distinct_audio(source), key=lambda item: item.name)
    for item in items:
        try:
            audio = read_reference(item, codec.spec.sample_rate, codec.spec.channels, setup.config.max_duration_s)
        except (AudioError, ValueError) as error:
            logger.warning("left out: {path}: {reason}".format(**left_out(item.path, error)))
        else:
            found.append(codec.encode(audio[None].to(codec.device), codec.spec.sample_rate).latents[0].float().cpu())
    if not found:
        raise AudioError(f"none of {len(items)} audio files of {source} could be read")
    return torch.cat(found)


def _add_rates(setup: Setup, table: ResultsTable, systems: Requantized) -> None:
    """Facts of each system: its kind of quantizer, its bits per second, and those that an entropy code would need."""
    rate_hz = setup.tokenizer.spec.latent_rate_hz
    for name, counts in systems.counts.items():
        bits = sum(torch.tensor(sizes).double().log2().sum().item() for sizes in counts.levels)
        entropy = counts.analysis(rate_hz).entropy_bitrate_bps
        table.systems[name] |= {
            "quantizer": name.partition(",")[0],
            **dict(zip(RATES, (bits * rate_hz, entropy), strict=True)),
        }
    if "tokens" in table.systems:
        codec = table.facts["codec"]
        own = codec["bitrate_bps"], codec["tokens"]["entropy_bitrate_bps"]
        table.systems["tokens"] |= {"quantizer": OWN, **dict(zip(RATES, own, strict=True))}


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
