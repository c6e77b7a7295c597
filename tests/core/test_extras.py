"""Optional packages: imported where they are used, and named where they are missing."""

import sys

import pytest

from latentune.core.errors import LatentuneError, MissingPackageError
from latentune.core.extras import import_extra, is_installed
from latentune.core.figures import can_draw, new_figure


def test_a_module_that_is_there_is_returned() -> None:
    import json.decoder

    assert import_extra("json.decoder", "report", "this test") is json.decoder
    assert is_installed("json")


def test_a_missing_package_is_named_with_its_extra_and_what_needs_it() -> None:
    assert not is_installed("no_such_package")
    with pytest.raises(
        MissingPackageError, match=r"^a plot needs no_such_package: pip install 'latentune\[report\]'$"
    ) as caught:
        import_extra("no_such_package.figure", "report", "a plot")
    assert isinstance(caught.value, LatentuneError)
    assert isinstance(caught.value, ImportError)


def test_an_error_inside_a_package_that_is_there_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"json\.no_such_part") as caught:
        import_extra("json.no_such_part", "report", "a plot")
    assert not isinstance(caught.value, MissingPackageError)


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"latentune\[report\]"):
        new_figure(1, 1)


def test_plots_that_nobody_asked_for_are_left_out_with_a_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert can_draw("spectrograms")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level("INFO"):
        assert not can_draw("spectrograms")
    assert "spectrograms are left out" in caplog.text
    assert "pip install 'latentune[report]'" in caplog.text
