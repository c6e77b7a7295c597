"""Wheels and sdists hold the whole package, also where a checkout has no symbolic links."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77")

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("tokenizers", "generators", "pipelines", "configs", "demos")
LEFT_OUT = ("demos/bench/", "demos/recipes/")  # of use in the repository alone
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")
DATA = (".py", ".yaml", ".json", ".safetensors", ".md", ".html", ".j2", ".typed", ".wav", ".flac", ".ogg", ".jsonl")


def copy_checkout(target: Path, *, links: bool, weights: bool = False) -> Path:
    """Copies what a build reads; without `links`, the links are the text files that Git leaves on Windows."""
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", *(() if weights else ("*.safetensors",)))
    target.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, target)
    for name in LINKED:
        shutil.copytree(ROOT / name, target / name, ignore=left_out)
    shutil.copytree(ROOT / "src", target / "src", symlinks=True, ignore=left_out)
    if not links:
        for name in LINKED:
            link = target / "src" / "latentune" / name
            link.unlink()
            link.write_text(f"../../{name}")
    return target


def build(checkout: Path, kind: str) -> subprocess.CompletedProcess[str]:
    """Calls a hook of the build backend in the checkout, as pip does: `wheel`, `sdist` or `editable`."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}('dist')"
    return subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True)


def built(checkout: Path, kind: str) -> Path:
    """The archive that `build` writes."""
    run = build(checkout, kind)
    assert run.returncode == 0, run.stderr
    (archive,) = (checkout / "dist").glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return archive


def unpacked(sdist: Path, target: Path) -> Path:
    """The folder inside an sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    (folder,) = target.iterdir()
    return folder


def wheel_files(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def package_files(checkout: Path) -> set[str]:
    """The files that a wheel must hold, listed from the folders themselves."""
    found = {f"{name}/{path.relative_to(checkout / name)}" for name in LINKED for path in (checkout / name).rglob("*")}
    source = checkout / "src" / "latentune"
    real = {
        str(path.relative_to(source))
        for path in (*source.glob("*.*"), *source.glob("core/**/*"), *source.glob("layers/**/*"))
    }
    return {f"latentune/{name}" for name in found | real if name.endswith(DATA) and not name.startswith(LEFT_OUT)}


@pytest.mark.parametrize("links", [True, False])
def test_a_wheel_holds_the_whole_package_with_and_without_links(tmp_path: Path, links: bool) -> None:
    checkout = copy_checkout(tmp_path / "checkout", links=links)
    files = wheel_files(built(checkout, "wheel"))
    wanted = package_files(checkout)
    assert len(wanted) > 200
    assert {name for name in files if ".dist-info/" not in name} == wanted


@pytest.mark.parametrize("links", [True, False])
def test_an_sdist_builds_the_same_wheel_and_holds_the_constraints(tmp_path: Path, links: bool) -> None:
    checkout = copy_checkout(tmp_path / "checkout", links=links)
    folder = unpacked(built(checkout, "sdist"), tmp_path / "sdist")
    assert {"constraints.txt", "LICENSE", "README.md", "setup.py"} <= {path.name for path in folder.iterdir()}
    assert wheel_files(built(folder, "wheel")) == wheel_files(built(checkout, "wheel"))


def test_an_editable_installation_without_links_is_refused_with_the_reason(tmp_path: Path) -> None:
    run = build(copy_checkout(tmp_path / "checkout", links=False), "editable")
    assert run.returncode != 0
    assert "has no symbolic links to tokenizers, generators, pipelines, configs, demos" in run.stderr
    assert "git config core.symlinks true" in run.stderr
    assert build(copy_checkout(tmp_path / "linked", links=True), "editable").returncode == 0


def test_a_checkout_without_one_of_the_folders_is_refused(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout", links=False)
    shutil.rmtree(checkout / "pipelines")
    run = build(checkout, "wheel")
    assert run.returncode != 0
    assert "neither src/latentune/pipelines nor pipelines is a folder" in run.stderr


@pytest.mark.slow
def test_an_sdist_with_weights_installs_and_loads_what_it_ships(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout", links=True, weights=True)
    wheel = built(unpacked(built(checkout, "sdist"), tmp_path / "sdist"), "wheel")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    code = "import latentune; print(latentune.__file__); latentune.load_pipeline('melcodec-music-dit')"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(installed)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(str(installed))
    demo = ["demo", "out", "--train-steps", "2", "--seconds", "0.6", "--prompt", "calm orchestral music"]
    run = subprocess.run(
        [sys.executable, "-m", "latentune", *demo],
        env={"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 100_000
