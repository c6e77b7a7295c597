"""Checks of what a generator is asked for against what it was trained with. Each doubt is logged once."""

from __future__ import annotations

import logging

from ...core.errors import MismatchError
from ...generators.base import LatentGenerator, SamplingConfig
from ...generators.conditioning import ConditionEncoder
from ...generators.conditioning.frozen import load_frozen
from ...generators.conditions import SECONDS, Conditions, is_given
from ...generators.parts.guidance import TEXT

logger = logging.getLogger(__name__)


class RequestChecks:
    """The checks of one generator."""

    def __init__(self, generator: LatentGenerator):
        self.trained_on = generator.trained_on
        # a generator of somebody else may do without conditions
        self.encoder: ConditionEncoder | None = getattr(generator, "condition_encoder", None)
        self._logged: set[str] = set()

    def check_conditions(self, conditions: Conditions) -> None:
        """Checks whether the generator can follow these conditions.

        Raises:
            ValueError: a condition that the generator does not have or saw no value of in training, or a value that
                it does not know.
            MismatchError: the frozen encoder of a condition is not the one of the training.
        """
        if self.encoder is not None:
            self.encoder.request(conditions)
        seen = self.trained_on.conditions
        for name, values in conditions.values.items():
            if name == SECONDS or not any(map(is_given, values)):
                continue
            if seen is not None and name not in seen:
                has = ", ".join(seen) or "none"
                raise ValueError(
                    f"the generator never saw a value of {name} in training, so that it would have no effect: leave it "
                    f"out (seen: {has})"
                )
            self._check_frozen(name)
            if seen is None:
                self.log_once(f"the generator does not record whether it was trained with {name}: it may do nothing")

    def check_sampling(self, sampling: SamplingConfig) -> None:
        """Checks whether the generator can follow this guidance; raises as `check_conditions`."""
        if sampling.negative_prompt:
            self.check_conditions(Conditions(values={TEXT: [sampling.negative_prompt]}))
        dropped = {} if self.encoder is None else self.encoder.config.drop_probabilities
        for name, scale in sampling.guidance_scales.items():
            replaced = name == TEXT and sampling.negative_prompt
            if scale != sampling.guidance_scale and name not in dropped and not replaced:
                self.log_once(
                    f"{name} was never dropped alone in training (drop_probability of its conditioner is 0): a scale "
                    "of its own may do harm"
                )

    def check_given(self) -> None:
        """Logs a doubt if the generator was not trained with given audio."""
        if not self.trained_on.given:
            self.log_once(
                "the generator was not trained with given audio, as far as it records: what is sampled follows it less "
                "closely than it could"
            )

    def log_once(self, text: str) -> None:
        """Logs a warning unless it was logged before."""
        if text not in self._logged:
            self._logged.add(text)
            logger.warning("%s", text)

    def _check_frozen(self, name: str) -> None:
        wanted = self.trained_on.encoders.get(name)
        source = None if wanted is None or self.encoder is None else self.encoder.conditioners[name].frozen
        if source is not None and (found := load_frozen(source).weights_sha256) != wanted:
            raise MismatchError(
                f"the generator was trained with other weights for {name} ({str(wanted)[:12]}) than those at "
                f"{source.source} ({found[:12]}): put the encoder of the training there"
            )
