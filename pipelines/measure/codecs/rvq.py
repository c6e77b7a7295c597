"""A residual vector quantizer in place of the codec's own: the layout that FSQ is compared with.

It is fitted to the latents of a codec whose encoder and decoder do not change, so that differences between the two are
differences of the tokens. Shape letters: T latent frames, D latent width, Q codebooks, S entries of a codebook.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....layers.bits import entry_bits
from ....layers.fsq import check_indices
from ....layers.residual import nearest_entries, sum_of_entries
from ....tokenizers.spec import TokenizerSpec

KMEANS_STEPS = 20
EMA_PASSES = 5  # over all vectors, after k-means has placed the entries
EMA_DECAY = 0.8
MAX_VECTORS = 2**16  # of a fit, drawn from all of them


def matching_codebooks(spec: TokenizerSpec, codebook_size: int) -> int:
    """Returns the codebooks per latent frame whose whole bits are nearest to the bit rate of the codec's own tokens."""
    return max(1, round(spec.packed_bitrate_bps / spec.latent_rate_hz / entry_bits(codebook_size)))


class RVQBaseline:
    """Residual codebooks over latent frames.

    Args:
        codebooks: [Q, S, D] float.
    """

    def __init__(self, codebooks: Tensor):
        if codebooks.ndim != 3 or not codebooks.numel() or not torch.isfinite(codebooks).all():
            raise ValueError(f"codebooks must be finite and [Q, S, D], got shape {tuple(codebooks.shape)}")
        self.codebooks = codebooks.detach().cpu().float()

    @classmethod
    def fit(cls, latents: Tensor, *, num_codebooks: int, codebook_size: int = 1024, seed: int = 0) -> RVQBaseline:
        """Fits codebooks to latents [T, D]: k-means stage by stage, then moving averages (van den Oord et al. 2017).

        Args:
            latents: [T, D].
            num_codebooks: Q.
            codebook_size: S.
            seed: the same seed gives the same codebooks.

        Returns:
            The quantizer with these codebooks.

        Raises:
            ValueError: fewer latent frames than a codebook has entries, or latents that are not finite.
        """
        from vector_quantize_pytorch import ResidualVQ

        if latents.ndim != 2 or not torch.isfinite(latents).all():
            raise ValueError(f"latents must be finite and [T, D], got shape {tuple(latents.shape)}")
        if num_codebooks < 1 or codebook_size < 2:
            raise ValueError(f"an RVQ needs a codebook of at least 2 entries, got {num_codebooks} of {codebook_size}")
        if len(latents) < codebook_size:
            raise ValueError(
                f"{len(latents)} latent frames are too few for codebooks of {codebook_size} entries: give more audio, "
                "or smaller codebooks"
            )
        latents = latents.detach().cpu().float()
        generator = torch.Generator().manual_seed(seed)
        latents = latents[torch.randperm(len(latents), generator=generator)[:MAX_VECTORS]]
        quantizer = ResidualVQ(
            dim=latents.shape[1],
            num_quantizers=num_codebooks,
            codebook_size=codebook_size,
            kmeans_init=True,
            kmeans_iters=KMEANS_STEPS,
            decay=EMA_DECAY,
        )
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # k-means draws from torch's own generator
            torch.manual_seed(seed)
            for _ in range(EMA_PASSES):
                quantizer(latents[None])
        return cls(quantizer.codebooks)

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """As in `TokenizerSpec`: each codebook is one digit, whose order has no meaning."""
        return ((self.codebooks.shape[1],),) * len(self.codebooks)

    def encode(self, latents: Tensor) -> Tensor:
        """Returns tokens [T, Q] int64 of latents [T, D]: in each stage the entry nearest to the remainder."""
        self._check_width(latents)
        return nearest_entries(latents.detach().cpu().float(), self.codebooks)

    def decode(self, tokens: Tensor) -> Tensor:
        """Returns latents [T, D] of tokens [T, Q].

        Raises:
            ValueError: another number of codebooks, or a token out of range.
            TypeError: tokens that are not integers.
        """
        if tokens.ndim != 2 or tokens.shape[1] != len(self.codebooks):
            raise ValueError(f"tokens must be [T, {len(self.codebooks)}], got shape {tuple(tokens.shape)}")
        check_indices(tokens, self.codebooks.shape[1])
        return sum_of_entries(tokens, self.codebooks)

    def mean_latents(self, posteriors: Sequence[Tensor]) -> Tensor:
        """Returns the mean latents [T, D] under posteriors [T, S] of each stage."""
        pairs = zip(posteriors, self.codebooks, strict=True)
        return torch.stack([chances @ book.double() for chances, book in pairs]).sum(0).float()

    def _check_width(self, latents: Tensor) -> None:
        if latents.ndim != 2 or latents.shape[1] != self.codebooks.shape[2]:
            raise ValueError(f"latents must be [T, {self.codebooks.shape[2]}], got shape {tuple(latents.shape)}")
