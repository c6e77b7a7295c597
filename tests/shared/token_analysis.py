"""The figures of a token stream that is in memory."""

from __future__ import annotations

from torch import Tensor

from latentune.pipelines.measure.codecs.figures.tokens import TokenAnalysis, TokenCounts
from latentune.tokenizers.base import TokenizerSpec


def analyse_tokens(tokens: Tensor, spec: TokenizerSpec) -> TokenAnalysis:
    """Returns the figures of tokens [..., Q] of a tokenizer."""
    counts = TokenCounts(spec.levels)
    counts.add(tokens)
    return counts.analysis(spec.token_rate_hz)
