"""Parts that all tabs of the page share: the models, the queue, the streams, and how a mistake is shown."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import gradio as gr
import numpy as np
from torch import Tensor

from ...core.errors import LatentuneError
from ..data.audio.fixtures import fixtures_by_text
from ..hosting.jobs import Jobs
from ..hosting.live import LiveStream
from ..hosting.models import Models
from ..hosting.seeds import chosen_seed
from .config import WebConfig

if TYPE_CHECKING:
    from gradio.events import Dependency

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
DEVICE = "device"  # events of this name run one at a time
ERROR_S = 10  # that a message stays
FETCH_S = 30.0  # within which a browser must ask for a stream


class Streams:
    """Streams that a browser has asked for and will fetch by a name that nobody can guess."""

    def __init__(self) -> None:
        self._waiting: dict[str, LiveStream] = {}
        self._lock = threading.Lock()

    def add(self, live: LiveStream) -> str:
        """Returns the name of a stream, under which it may be fetched once, and soon."""
        token = token_urlsafe(16)
        with self._lock:
            self._waiting[token] = live
        timer = threading.Timer(FETCH_S, self._expire, (token,))
        timer.daemon = True
        timer.start()
        return token

    def take(self, token: str) -> LiveStream | None:
        """Returns the stream of a name, which then has it no more; None for an unknown name."""
        with self._lock:
            return self._waiting.pop(token, None)

    def _expire(self, token: str) -> None:
        if (live := self.take(token)) is not None:
            live.close()


@dataclass(frozen=True, kw_only=True)
class Page:
    """Parts that the tabs share."""

    config: WebConfig
    models: Models
    jobs: Jobs
    streams: Streams = field(default_factory=Streams)
    # (handler, its inputs and outputs) of what a tab shows before anything is clicked
    on_load: list[tuple[Callable[..., Any], dict[str, Any]]] = field(default_factory=list)

    def event(self, handler: Callable[P, T]) -> dict[str, Any]:
        """Returns the arguments of an event that needs the device: its handler, and that one of them runs at a time."""
        return {**self.quick(handler), "concurrency_id": DEVICE, "concurrency_limit": 1}

    def quick(self, handler: Callable[P, T]) -> dict[str, Any]:
        """Returns the arguments of an event that needs no network."""
        return {"fn": shown(handler), "api_visibility": "private"}


def shown(handler: Callable[P, T]) -> Callable[P, T]:
    """Returns a handler whose mistakes are shown on the page; the page learns nothing of an unexpected error."""

    @functools.wraps(handler)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except (LatentuneError, ValueError, TypeError) as error:
            text = " ".join(str(error).split())
            raise gr.Error(text[:1].upper() + text[1:], duration=ERROR_S, print_exception=False) from error
        except Exception as error:
            logger.exception("an event of the page failed")
            text = "This failed inside the server: see its log."
            raise gr.Error(text, duration=ERROR_S, print_exception=False) from error

    return run


def unfold(event: Dependency, page: Page, *, parts: Sequence[Any], placeholder: Any = None) -> None:
    """Shows parts of the page once an event has filled them.

    Args:
        event: that was registered.
        page: what the tabs share.
        parts: of the page, hidden before.
        placeholder: a part that is hidden in turn.
    """
    updates = {part: gr.update(visible=True) for part in parts}
    if placeholder is not None:
        updates[placeholder] = gr.update(visible=False)
    event.success(outputs=list(updates), **page.quick(lambda: updates))


def playable(audio: Tensor, sample_rate: int) -> tuple[int, np.ndarray]:
    """Returns audio [C, N] as players of the page take it: rate in Hz and samples [N, C] int16, at their own level."""
    clipped = audio.float().clamp(-1.0, 1.0).cpu().numpy().T
    return sample_rate, np.round(clipped * 32767).astype(np.int16)


def recording_field(page: Page, label: str, elem_id: str) -> gr.Audio:
    """Returns a field for a recording, below which those that are part of the package can be chosen.

    Args:
        page: what the tabs share.
        label: of the field.
        elem_id: of the field in the document.
    """
    recording = gr.Audio(type="filepath", label=label, elem_id=elem_id, buttons=["download"])
    chosen = gr.Dropdown(list(fixtures_by_text()), value=None, label="Or take one of these", elem_id=f"{elem_id}-ours")
    chosen.input(inputs=[chosen], outputs=[recording], **page.quick(chosen_recording))
    return recording


def chosen_recording(text: str) -> tuple[int, np.ndarray]:
    """Returns a recording of the package as players take it.

    Args:
        text: what it is.

    Raises:
        ValueError: there is no such recording.
    """
    known = fixtures_by_text()
    if text not in known:
        raise ValueError(f"no recording is called {text!r} here: choose one of the list")
    return playable(*known[text].read())


def player(label: str, **options: Any) -> gr.Audio:
    """Returns a player of generated audio."""
    return gr.Audio(label=label, interactive=False, buttons=["download"], **options)


def picture(label: str, **options: Any) -> gr.Image:
    """Returns a place for a picture that the page draws."""
    defaults: dict[str, Any] = {
        "interactive": False,
        "buttons": ["fullscreen"],
        "format": "png",
        "image_mode": None,
        "elem_classes": "picture",
    }
    return gr.Image(label=label, **{**defaults, **options})


def seed_field() -> gr.Textbox:
    """Returns the field of a seed."""
    return gr.Textbox("", label="Seed", placeholder="drawn if empty", max_length=20)


def read_seed(text: str) -> int:
    """Returns the seed that a field holds; an empty one draws it.

    Raises:
        ValueError: it is not a whole number in 0..2^32 - 1.
    """
    text = text.strip()
    if text and not text.isdecimal():
        raise ValueError(f"seed must be a whole number, got {text[:20]!r}: leave it empty to draw one")
    return chosen_seed(int(text) if text else None)


def watched(bar: gr.Progress, what: str) -> Callable[[int, int], None]:
    """Returns a function of (steps done, steps in all) that moves a bar of the page."""

    def move(done: int, total: int) -> None:
        bar((done, total), desc=what)

    return move


def facts_text(**facts: Any) -> str:
    """Returns facts as one line of Markdown, names in bold."""
    return " · ".join(f"**{name.replace('_', ' ')}** {value}" for name, value in facts.items())
