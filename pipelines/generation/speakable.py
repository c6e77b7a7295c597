"""The texts that a pipeline can say, with which voice, and in which pieces.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..data.cards import PIPELINE_CARDS
from .given_audio import Audio
from .sentences import Piece, pieces_of

if TYPE_CHECKING:
    from ...generators.base import LatentGenerator
    from ...generators.conditioning.fuse import ConditionEncoder
    from ...tokenizers.spec import TokenizerSpec
    from .checks import RequestChecks

REFERENCE = "reference"  # the condition that a recording of a voice is given as
SHORTEST_VOICE_S = 1.0  # of a recording from which a voice is taken
SPEEDS = (0.25, 4.0)  # lowest and highest


class Speakable(ABC):
    """The part of a pipeline that knows which texts it can say, and how it cuts them."""

    generator: LatentGenerator
    _checks: RequestChecks

    @property
    @abstractmethod
    def spec(self) -> TokenizerSpec:
        """The codec's rates."""

    @property
    def spoken(self) -> str | None:
        """Name of the condition that holds what is said; None: the generator reads no transcripts."""
        encoder: ConditionEncoder | None = getattr(self.generator, "condition_encoder", None)
        return None if encoder is None else encoder.transcript

    @property
    def can_speak(self) -> bool:
        """Whether its generator reads a transcript, so that it says texts and follows no prompts."""
        return self.spoken is not None

    @property
    def takes_voice(self) -> bool:
        """Whether it speaks in the voice of a recording, if it is given one."""
        return self.can_speak and REFERENCE in self.generator.condition_encoder.conditioners

    def pieces(self, text: str, speed: float = 1.0) -> list[Piece]:
        """Returns what is said at once of a text: sentences, and parts of those longer than the training examples.

        Args:
            text: at least a letter or a digit.
            speed: as for `say`.

        Raises:
            ValueError: as for `say`.
            TypeError: a text that is not a string.
        """
        transcript = self._transcript()
        if not SPEEDS[0] <= speed <= SPEEDS[1]:
            raise ValueError(f"speed must lie in {SPEEDS[0]:g}..{SPEEDS[1]:g}, got {speed}: 1 is that of the training")
        if not isinstance(text, str):
            raise TypeError(f"a text to say must be a string, got {type(text).__name__}")
        encoder, longest_s = self.generator.condition_encoder, self.generator.trained_on.crop_s or math.inf
        most = getattr(encoder.conditioners[transcript].config, "max_symbols", math.inf)

        def fits(part: str) -> bool:
            return len(encoder.symbols([part])[0]) <= most and self.generator.duration_of(part, speed) <= longest_s

        found = pieces_of(text, fits)
        if not found:
            raise ValueError(f"nothing can be said of {text[:40]!r}: give a text with at least one letter or digit")
        return found

    def check_speech(self, texts: Sequence[str], *, voice: Audio | None = None, speed: float = 1.0) -> None:
        """Checks whether the pipeline can say these texts with this voice.

        Args:
            texts: as for `say`.
            voice: as for `say`.
            speed: as for `say`.

        Raises:
            ValueError: as for `say`.
            TypeError: as for `say`.
        """
        if not texts:
            raise ValueError("no text to say: give at least one")
        for text in texts:
            self.pieces(text, speed)
        self._warn_of_unseen(texts)
        if voice is None:
            return
        audio, sample_rate = voice
        if not self.takes_voice:
            raise ValueError("this pipeline has a single voice, that of its training data: leave the voice out")
        if audio.shape[-1] < SHORTEST_VOICE_S * sample_rate:
            raise ValueError(
                f"the recording of the voice has {audio.shape[-1] / sample_rate:.2f} s: give at least "
                f"{SHORTEST_VOICE_S:g} s"
            )

    def _warn_of_unseen(self, texts: Sequence[str]) -> None:
        """Logs which symbols of texts no transcript of the training data held."""
        durations = self.generator.trained_on.durations
        known = set() if durations is None else set(durations.symbol_s)
        read = "".join(self.generator.condition_encoder.symbols(texts))
        if unseen := "".join(dict.fromkeys(symbol for symbol in read if symbol not in known)):
            self._checks.log_once(
                f"the training data held no {' '.join(unseen)}: how it sounds is not learned (numbers may need to be "
                "written as words)"
            )

    def _transcript(self) -> str:
        """Returns the name of the condition that holds what is said; a pipeline without one cannot speak."""
        name = self.spoken
        if name is None:
            able = [name for name, card in PIPELINE_CARDS.items() if "transcript" in card.conditions]
            raise ValueError(
                "this pipeline cannot speak, because its generator reads no transcripts: use one that does, such as "
                f"{' or '.join(able) or 'one that was trained with the config train/say-small'}"
            )
        return name
