import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image as plt_image
import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from latentune.pipelines.measure.results.audio import AudioCell
from latentune.pipelines.measure.results.page import Report
from latentune.pipelines.measure.results.plots import curve_svg
from latentune.pipelines.measure.results.spectrograms import shared_spectrograms

PNG = b"\x89PNG\r\n\x1a\n"


def tone(hz: float, seconds: float = 0.5, rate: int = 48_000, channels: int = 2) -> Tensor:
    time_s = torch.arange(round(rate * seconds)) / rate
    return (0.5 * torch.sin(2 * torch.pi * hz * time_s)).expand(channels, -1)


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words += data

    def data(self, tag: str) -> list[tuple[str, bytes]]:
        """Kind and bytes of the data addresses in `src` of each `tag`."""
        found = []
        for name, attributes in self.tags:
            if name == tag:
                kind, content = (attributes["src"] or "").split(";base64,")
                found.append((kind.removeprefix("data:"), base64.b64decode(content, validate=True)))
        return found


@pytest.fixture(scope="module")
def report() -> Report:
    report = Report("Title <b> & co")
    report.add_heading("A section")
    report.add_text("Words with <script>alert(1)</script>\nand a second line")
    report.add_warnings("1 warning", ["Few <windows>"])
    report.add_warnings("no warning", [])
    report.add_folded("Settings", '{"a": "<b>"}')
    report.add_table("Figures", ["system", "mel", "files"], [["x & y", 0.123456, 3], ["z", None, 123_456]])
    report.add_curve("Loss", {"train <1>": ([0, 1, 2], [3.0, float("nan"), 1.0])}, "step", "loss")
    cells = [AudioCell("at 48 kHz", tone(440), 48_000), AudioCell("at 16 kHz", tone(440, rate=16_000), 16_000)]
    report.add_audio_row("Sample", cells, text='prompt "quoted" <i>', format="flac")
    return report


def test_the_page_is_whole_and_needs_nothing_beside_it(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("link", "script", "iframe")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_what_was_added_is_shown_and_escaped(report: Report) -> None:
    text = report.render()
    page = Page(text)
    for words in (
        "Title <b> & co",
        "A section",
        "<script>alert(1)</script>",
        "1 warning",
        "Few <windows>",
        '{"a": "<b>"}',
        "x & y",
        "0.123",
        "123456",
    ):
        assert words in page.words
    assert "no warning" not in page.words
    assert 'prompt "quoted" <i>' in page.words
    assert "<script>" not in text
    order = [text.index(words) for words in ("A section", "1 warning", "Figures", "Loss", "Sample")]
    assert order == sorted(order)


def test_pictures_and_players_hold_their_data(report: Report) -> None:
    page = Page(report.render())
    (curve, svg), (picture, png), _ = page.data("img")
    assert (curve, picture) == ("image/svg+xml", "image/png")
    assert svg.startswith(b"<svg")
    assert png.startswith(PNG)
    names = [attributes["aria-label"] for tag, attributes in page.tags if tag == "audio"]
    assert names == ["Sample: at 48 kHz", "Sample: at 16 kHz"]
    (kind, flac), _ = page.data("audio")
    assert kind == "audio/flac"
    audio, rate = soundfile.read(io.BytesIO(flac))
    assert rate == 48_000
    np.testing.assert_allclose(audio.T, tone(440).numpy(), atol=1 / 32767)


def test_sections_are_listed_where_there_are_many() -> None:
    report = Report("x")
    for name in ("a", "b", "c", "d"):
        report.add_heading(name)
    page = Page(report.render())
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == [f"#{attributes['id']}" for tag, attributes in page.tags if tag == "h2"]


def test_spectrograms_of_a_row_share_their_axes() -> None:
    cells = [AudioCell("", tone(440), 48_000), AudioCell("", tone(440, 1.0, 24_000, 1), 24_000)]
    short, long = (plt_image.imread(io.BytesIO(png)) for png in shared_spectrograms(cells))
    assert short.shape == long.shape
    middle = short.shape[0] // 3
    columns = round(0.95 * short.shape[1])
    assert long[middle, columns, 3] == 1.0, "the longer one reaches to the end"
    assert short[middle, columns, 3] == 0.0, "the shorter one ends in the middle, without paper behind it"
    left = slice(short.shape[1] // 4, short.shape[1] // 2 - 20)
    assert np.abs(short[:middle, left] - long[:middle, left]).mean() < 0.02, "rate and channels change nothing"
    quiet = [AudioCell("", tone(440), 48_000), AudioCell("", 0.1 * tone(440), 48_000)]
    loud, soft = (plt_image.imread(io.BytesIO(png))[..., :3].sum() for png in shared_spectrograms(quiet))
    assert soft < loud, "0 dB is the loudest point of all"


def test_parts_are_marked_in_the_spectrogram() -> None:
    plain, marked = AudioCell("", tone(440), 48_000), AudioCell("", tone(440), 48_000, marks=((0.1, 0.3),))
    assert shared_spectrograms([plain]) != shared_spectrograms([marked])
    broken = AudioCell("", torch.full((1, 4800), torch.nan), 48_000)
    assert shared_spectrograms([broken])[0].startswith(PNG)


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 1 columns"):
        Report("x").add_table("t", ["a"], [[1, 2]])


def test_wrong_curves_are_refused() -> None:
    with pytest.raises(ValueError, match="no curve"):
        curve_svg({}, "x", "y")
    with pytest.raises(ValueError, match="2 x and 1 y"):
        curve_svg({"a": ([1, 2], [1])}, "x", "y")


def test_drawing_leaves_no_global_figures() -> None:
    import matplotlib._pylab_helpers

    before = len(matplotlib._pylab_helpers.Gcf.figs)
    curve_svg({"a": ([1], [1])}, "x", "y")
    assert len(matplotlib._pylab_helpers.Gcf.figs) == before
