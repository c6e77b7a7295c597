"""A model with a fingerprint: by it datasets and generators know the codec that they were made with."""

from __future__ import annotations

import json
from typing import Any

from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin

from .config import config_to_dict
from .weights import hash_tensors


class FingerprintedModel(ModelMixin, ConfigMixin):
    """The identity of a model: of its config and weights."""

    settings: Any  # the config, a dataclass

    def fingerprint(self) -> str:
        """Returns the hex SHA-256 of config and weights: equal if and only if two models are the same.

        Weights that were rounded to another dtype when they were loaded (`place`) count as those before, also after
        they are saved and loaded again.
        """
        own, rounded_from = self._own_fingerprint(), self.config.get("_rounded_from", {})
        fingerprint: str = rounded_from.get(own, own)
        return fingerprint

    def _own_fingerprint(self) -> str:
        """Returns the fingerprint of the weights as they are, in float32."""
        return hash_tensors(self.state_dict(), json.dumps(config_to_dict(self.settings), sort_keys=True))
