"""A model with a card, which travels with the weights to the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from .fingerprint import FingerprintedModel
from .model_card import CARD_FILE, UNKNOWN, make_card, push_with_card


class PublishedModel(FingerprintedModel):
    """The card of a model: that next to the weights that were loaded, or else one of what is known of them."""

    card_tags: ClassVar[Sequence[str]] = ()  # of the model card
    card_loader: ClassVar[str] = "load_model"  # function of the package that loads it, for the model card
    _card: tuple[str, str] | None = None  # fingerprint of the weights that a card lay next to, and its text

    def make_card(self) -> str:
        """Returns a model card, Markdown with YAML front matter: that next to the weights, or what is known of them."""
        if (card := self._own_card()) is not None:
            return card
        facts = {"class": type(self).__name__, "parameters": f"{sum(p.numel() for p in self.parameters()) / 1e6:.1f} M"}
        return make_card(
            type(self).__name__,
            licence=getattr(self, "licence", UNKNOWN),
            tags=("audio", *self.card_tags),
            facts=facts | self.card_facts(),
            usage=f"import latentune\n\nlatentune.{self.card_loader}(PATH_OR_HUB_ID)",
            pipeline_tag=None,
        )

    def card_facts(self) -> dict[str, str]:
        """Returns further rows of the table in the model card."""
        return {}

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        subfolder: str | None = None,
        **options: Any,
    ) -> Any:
        """Uploads the model with its card; a card that somebody wrote for the repository stays.

        Args:
            repo_id: the repository, which is created if there is none.
            commit_message: of the upload.
            private: whether a repository that is created is private.
            token: of the user; by default that of `hf auth login`.
            create_pr: upload as a pull request.
            subfolder: place inside the repository, which then gets no card.
            options: of `save_pretrained`, such as `variant`.

        Returns:
            What the hub says of the upload.
        """
        return push_with_card(
            lambda folder: self._save_with_card(folder, **options),
            self._upload_folder,
            repo_id,
            subfolder=subfolder,
            private=private,
            token=token,
            commit_message=commit_message,
            create_pr=create_pr,
        )

    def _save_with_card(self, folder: Path, **options: Any) -> None:
        self.save_pretrained(folder, **options)
        (folder / CARD_FILE).write_text(self.make_card(), encoding="utf-8")

    def _own_card(self) -> str | None:
        """Returns the card that was next to the weights when they were loaded; None where they are others now."""
        if self._card is not None and self._card[0] != self._own_fingerprint():
            self._card = None
        return None if self._card is None else self._card[1]
