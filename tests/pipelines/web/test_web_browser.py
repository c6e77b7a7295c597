"""The page in headless Chromium: load, generate, hear, wrong input, two users at once, and nothing else to reach."""

from __future__ import annotations

import io
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile

pytest.importorskip("gradio")
from served import post, running

from latentune.core.compute import ComputeConfig
from latentune.pipelines.hosting.limits import RequestLimits
from latentune.pipelines.hosting.models import Models
from latentune.pipelines.web.speak import EXAMPLE

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]
WAIT_MS = 120_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for what the pages of this module are sent and make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@contextmanager
def served(models: Any, **limits: float) -> Iterator[str]:
    """The address of a page that is served on the loopback."""
    from latentune.pipelines.web.app import build_app
    from latentune.pipelines.web.config import WebConfig

    config = WebConfig(**limits)  # type: ignore[arg-type]
    with running(RequestLimits(build_app(config, models), config)) as (address, _):
        yield address


@pytest.fixture(scope="module")
def address(models: Any, files: None) -> Iterator[str]:
    with served(models, max_seconds=2.0, max_stream_s=3.0, max_upload_mb=0.2) as address:
        yield address


@pytest.fixture(scope="module")
def shipped(files: None) -> Iterator[tuple[str, Models]]:
    """The address of a page of models that ship, and these."""
    models = Models(
        pipelines=["melcodec-speech-say"], tokenizers=["melcodec-speech"], compute=ComputeConfig(device="cpu")
    )
    with served(models) as address:
        yield address, models


@pytest.fixture
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class User:
    """Somebody with a browser of their own, at one tab of the page."""

    def __init__(self, browser: Any, address: str, tab: str):
        self.address = address
        self.page = browser.new_context().new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.sounds: list[str] = []  # that the page has loaded
        self.page.on("response", lambda response: self.sounds.append(response.url) if ".wav" in response.url else None)
        self.page.goto(address)
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def fill(self, label: str, value: str) -> None:
        self.page.get_by_label(label, exact=True).locator("visible=true").first.fill(value)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def sees(self, text: str) -> str:
        """The text around `text`, once it is visible."""
        found = self.page.get_by_text(text).locator("visible=true").first
        found.wait_for()
        return str(found.locator("xpath=..").inner_text())

    def hears(self) -> tuple[Any, int]:
        """Samples and rate of the last sound that a player loaded."""
        while not self.sounds:
            self.page.wait_for_timeout(100)
        with urllib.request.urlopen(self.sounds[-1]) as response:
            samples, rate = soundfile.read(io.BytesIO(response.read()))
        return samples, rate


def test_a_user_generates_and_hears_it(browser: Any, address: str) -> None:
    user = User(browser, address, "Generate")
    user.fill("Prompt", "calm")
    user.fill("Seconds", "0.5")
    user.fill("Seed", "7")
    user.press("Generate")
    assert "seed 7 · length 0.50 s" in user.sees("made in")
    audio, rate = user.hears()
    assert (len(audio), rate) == (2000, 4000)
    assert 0.05 < (audio**2).mean() ** 0.5 < 0.3


def test_a_mistake_is_shown_and_the_page_works_again(browser: Any, address: str) -> None:
    user = User(browser, address, "Generate")
    user.fill("Seed", "seven")
    user.press("Generate")
    assert "whole number" in user.sees("Seed must be")
    user.fill("Seed", "7")
    user.press("Generate")
    user.sees("made in")


def test_an_upload_that_is_not_audio_and_one_that_is_too_large_are_refused(
    browser: Any, address: str, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("hello")
    user = User(browser, address, "Tokenize")
    user.page.locator("#tokenize-recording input[type=file]").set_input_files(tmp_path / "text.wav")
    user.page.wait_for_timeout(1000)
    user.press("Encode")
    assert "recording" in user.sees("cannot be decoded")
    (tmp_path / "large.wav").write_bytes(bytes(300_000))
    other = User(browser, address, "Tokenize")
    other.page.locator("#tokenize-recording input[type=file]").set_input_files(tmp_path / "large.wav")
    assert "large.wav" in other.sees("exceed the maximum allowed size")  # the page does not even send it
    assert post(f"{address}/gradio_api/upload", "0" * 300_000)[0] == 413


def test_two_users_at_once_get_what_each_asked_for(browser: Any, address: str) -> None:
    users = [User(browser, address, "Generate") for _ in range(2)]
    for user, seconds in zip(users, ("0.3", "0.6"), strict=True):
        user.fill("Seconds", seconds)
    for user in users:
        user.press("Generate")
    for user, samples in zip(users, (1200, 2400), strict=True):
        user.sees("made in")
        assert len(user.hears()[0]) == samples


def test_a_stream_plays_to_its_end(browser: Any, address: str) -> None:
    user = User(browser, address, "Live")
    user.press("Start")
    player = user.page.locator("#live-player")
    player.wait_for()
    source = player.get_attribute("src")
    user.page.wait_for_function("document.querySelector('#live-player').ended", timeout=WAIT_MS)
    assert 2.9 < user.page.evaluate("document.querySelector('#live-player').currentTime") < 3.5
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}{source}")


def test_a_text_is_spoken(browser: Any, address: str) -> None:
    user = User(browser, address, "Speak")
    user.fill("Text", "One two. Three.")
    user.press("Speak")
    assert "length 0.30 s" in user.sees("made in")


def test_the_pipeline_that_ships_speaks_at_a_click(browser: Any, shipped: tuple[str, Models]) -> None:
    address, models = shipped
    user = User(browser, address, "Speak")
    assert user.page.get_by_role("tab", name="Generate", exact=True).count() == 0, "it follows no prompts"
    assert not user.page.locator("#speak-voice").is_visible(), "it has a single voice"
    user.press("Speak")
    user.sees("made in")
    audio, rate = user.hears()
    generator = models.pipelines["melcodec-speech-say"].generator
    assert len(audio) == round(generator.duration_of(EXAMPLE) * rate)
    assert 0.01 < (audio**2).mean() ** 0.5 < 0.5
    user.fill("Text", "...")
    user.press("Speak")
    user.sees("at least one letter or digit")
    assert not user.page.get_by_test_id("status-tracker").locator(".error").locator("visible=true").count()


def test_a_recording_of_the_package_is_chosen_and_its_streams_unfold(browser: Any, shipped: tuple[str, Models]) -> None:
    user = User(browser, shipped[0], "Tokenize")
    streams = user.page.get_by_text("Tokens: one row per digit")
    assert not streams.is_visible()
    user.page.get_by_label("Or take one of these").locator("visible=true").first.click()
    user.page.get_by_role("option", name="he was not an ill disposed young man").click()
    user.page.locator("#tokenize-recording").get_by_label("Play", exact=True).wait_for()
    user.press("Encode")
    user.sees("encoded in")
    streams.wait_for()
    user.page.get_by_text("Change the tokens").click()
    user.press("Flip bits")
    user.sees("bits flipped")


@pytest.mark.parametrize("place", ["/etc/passwd", str(Path(__file__)), "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd"])
@pytest.mark.parametrize("path", ["/gradio_api/file=", "/file=", "/static/", "/assets/", "/live/"])
def test_no_file_of_the_server_is_reached(address: str, path: str, place: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address + path + place)
    assert 400 <= refused.value.code < 500


def test_a_path_that_a_client_names_is_not_read(address: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "private.wav", [0.1] * 800, 8000)
    with urllib.request.urlopen(f"{address}/config") as response:
        page = json.load(response)
    [recording] = [one["id"] for one in page["components"] if one["props"].get("elem_id") == "generate-recording"]
    event = next(one["id"] for one in page["dependencies"] if one["inputs"] == [recording])
    file = {"path": str(tmp_path / "private.wav"), "orig_name": "a.wav", "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file], "fn_index": event, "session_hash": "somebody", "trigger_id": recording}
    status, _, _ = post(f"{address}/gradio_api/queue/join", body)
    assert status == 200
    with urllib.request.urlopen(f"{address}/gradio_api/queue/data?session_hash=somebody", timeout=60) as events:
        messages = [json.loads(line[6:]) for line in events if line.startswith(b"data: ")]
    [done] = [message for message in messages if message["msg"] == "process_completed"]
    assert not done["success"]
