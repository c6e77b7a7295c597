"""Optional packages: imported where they are used, and named where they are missing."""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError

import pytest

from latentune.core import extras
from latentune.core.errors import LatentuneError, MissingPackageError
from latentune.core.extras import explained, import_class, import_extra, install_command, is_installed
from latentune.core.figures import can_draw, new_figure


def test_a_module_that_is_there_is_returned() -> None:
    import json.decoder

    assert import_extra("json.decoder", "report", "this test") is json.decoder
    assert is_installed("json")


def test_a_missing_package_is_named_with_its_extra_and_what_needs_it() -> None:
    assert not is_installed("no_such_package")
    with pytest.raises(
        MissingPackageError, match=r"^a plot needs no_such_package: pip install no_such_package$"
    ) as caught:
        import_extra("no_such_package.figure", "report", "a plot")
    assert isinstance(caught.value, LatentuneError)
    assert isinstance(caught.value, ImportError)


def test_the_command_names_the_versions_that_the_project_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must work in a checkout: the project itself is on no index."""
    project = tomllib.loads(extras.PROJECT_FILE.read_text())["project"]
    (transformers,) = (line for line in project["dependencies"] if line.startswith("transformers"))
    of_installed = extras._declared()
    monkeypatch.setattr(extras, "requires", lambda name: raise_absent())
    extras._declared.cache_clear()
    of_checkout = extras._declared()
    extras._declared.cache_clear()
    for declared in (of_installed, of_checkout):
        monkeypatch.setattr(extras, "_declared", lambda declared=declared: declared)
        assert install_command("transformers") == f"pip install '{transformers}'"
        assert install_command("matplotlib", "report").startswith("pip install 'matplotlib>=")
        assert install_command("onnx_asr", "speech-metrics").startswith("pip install 'onnx-asr>=")
        together = install_command("laion_clap", "laion-clap")
        assert all(name in together for name in ("laion-clap>=", "pyarrow<", "torchvision>="))
        assert install_command("unknown", "report") == "pip install unknown"


def raise_absent() -> None:
    raise PackageNotFoundError("latentune")


def test_a_class_that_an_old_version_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert import_class("JSONDecoder", "this test", "json").__name__ == "JSONDecoder"
    with pytest.raises(
        MissingPackageError, match=r"^a codec needs NoModel of transformers: pip install -U 'transfo.*>="
    ):
        import_class("NoModel", "a codec")
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"^a codec needs transformers: pip install 'transformers>="):
        import_class("BertModel", "a codec")


def test_import_errors_of_known_packages_are_explained() -> None:
    missing = explained(ModuleNotFoundError("No module named 'whisper_normalizer.x'", name="whisper_normalizer.x"))
    assert "whisper_normalizer" in str(missing)
    assert "pip install -U 'whisper-normalizer>=" in str(missing)
    old = str(explained(ImportError("cannot import name 'X' from 'transformers'", name="transformers")))
    assert old.startswith(
        "cannot import name 'X' from 'transformers': the installed transformers does not fit, pip inst"
    )
    assert explained(ImportError("cannot import name 'x'", name="latentune.core")) is None
    assert explained(ImportError("requires sentencepiece")) is None


def test_an_error_inside_a_package_that_is_there_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"json\.no_such_part") as caught:
        import_extra("json.no_such_part", "report", "a plot")
    assert not isinstance(caught.value, MissingPackageError)


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"a plot needs matplotlib: pip install 'matplotlib>="):
        new_figure(1, 1)


def test_plots_that_nobody_asked_for_are_left_out_with_a_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert can_draw("spectrograms")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level("INFO"):
        assert not can_draw("spectrograms")
    assert "spectrograms are left out" in caplog.text
    assert "pip install 'matplotlib>=" in caplog.text
