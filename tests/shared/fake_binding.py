"""A tokenizer that does not exist, for generators that need none: 1 kHz, chunks of 2 latents or 4 token frames.

Also the smallest conditions of such generators.
"""

from latentune.generators.base import TokenizerBinding
from latentune.generators.conditioning import ConditioningConfig
from latentune.tokenizers.base import TokenizerSpec

SECOND = 1000  # samples


def fake_spec(*levels: tuple[int, ...]) -> TokenizerSpec:
    """A spec of codebooks with these levels."""
    return TokenizerSpec(
        name="fake",
        sample_rate=SECOND,
        channels=1,
        hop_samples=10,
        latent_dim=3,
        levels=levels,
        token_hop_samples=5,
        chunk_latents=2,
        chunk_tokens=4,
        overlap_samples=5,
    )


LATENT_BINDING = TokenizerBinding(
    spec=fake_spec((5, 4, 3)), fingerprint="f" * 64, latent_mean=(1.0, 0.0, -2.0), latent_std=(1.0, 2.0, 0.5)
)
TOKEN_BINDING = TokenizerBinding(spec=fake_spec((5, 4, 3), (3, 2)), fingerprint="f" * 64)
CONDITIONING = ConditioningConfig(
    width=8,
    conditioners={
        "text": {"kind": "bytes", "layers": 1, "heads": 2, "num_tokens": 2},
        "label": {"kind": "labels", "labels": ["rock"]},
        "seconds": {"kind": "seconds"},
    },
)
