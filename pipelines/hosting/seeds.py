"""Seeds of requests: what was asked for, or one that is drawn and reported, so that the result can be repeated."""

from __future__ import annotations

import secrets

LARGEST_SEED = 2**32 - 1  # torch's generator on the CPU uses no more bits


def chosen_seed(seed: int | float | None) -> int:
    """Returns the seed; None draws one.

    Raises:
        ValueError: it is not a whole number in 0..2^32 - 1.
    """
    if seed is None:
        return secrets.randbelow(LARGEST_SEED + 1)
    if isinstance(seed, bool) or seed != int(seed) or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed must be a whole number in 0..{LARGEST_SEED}, got {seed}: leave it out to draw one")
    return int(seed)
