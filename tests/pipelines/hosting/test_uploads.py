"""Recordings that a client sent, the names of models, and where a server listens."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from latentune.core.compute import ComputeConfig
from latentune.core.errors import AudioError, LatentuneError
from latentune.pipelines.data.audio.write import write_audio
from latentune.pipelines.hosting.config import HostConfig
from latentune.pipelines.hosting.models import Models, Named, UnknownNameError
from latentune.pipelines.hosting.server import AddressError, run_server
from latentune.pipelines.hosting.uploads import read_upload

LIMITS = HostConfig(max_seconds=1.0, max_upload_mb=0.1)


def test_a_recording_is_read(tmp_path: Path) -> None:
    audio = 0.1 * torch.randn(2, 8000)
    write_audio(tmp_path / "a.wav", audio, 8000, "FLOAT")
    read, rate = read_upload(tmp_path / "a.wav", LIMITS)
    assert rate == 8000
    torch.testing.assert_close(read, audio)


def test_what_is_too_long_too_large_or_not_audio_is_refused_without_its_path(tmp_path: Path) -> None:
    write_audio(tmp_path / "long.wav", torch.zeros(1, 8001), 8000)
    write_audio(tmp_path / "large.wav", torch.zeros(1, 60_000), 96_000)
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.wav").touch()
    reasons = {
        "long.wav": "longer than 1 s",
        "large.wav": "0.2 MB, allowed are 0.1",
        "text.wav": "the recording",
        "empty.wav": "empty file",
        "absent.wav": "not there any more",
    }
    for name, reason in reasons.items():
        with pytest.raises(AudioError, match=reason) as error:
            read_upload(tmp_path / name, LIMITS)
        assert str(tmp_path) not in str(error.value)
    with pytest.raises(AudioError, match="upload or record one"):
        read_upload(None, LIMITS)


def test_things_are_loaded_once_by_the_last_part_of_their_place() -> None:
    loaded: list[str] = []
    named = Named("pipeline", ["a/one", "two", "a/one"], lambda source: loaded.append(source) or source)
    assert list(named) == ["one", "two"]
    assert "one" in named
    assert loaded == []
    assert named["one"] == named["one"] == "a/one"
    assert loaded == ["a/one"]
    with pytest.raises(UnknownNameError, match="no pipeline is called 'onee' here: did you mean 'one'"):
        named["onee"]
    with pytest.raises(ValueError, match="two pipelines are called 'one'"):
        Named("pipeline", ["a/one", "b/one"], str)


def test_a_wrong_source_is_known_before_the_first_request(tmp_path: Path) -> None:
    for kind in ("pipelines", "tokenizers", "datasets"):
        models = Models(compute=ComputeConfig(device="cpu"), **{kind: [str(tmp_path / "nowhere")]})
        with pytest.raises(LatentuneError, match="nowhere"):
            models.load()


def test_a_taken_port_is_one_line_before_anything_is_loaded() -> None:
    def too_early() -> Any:
        raise AssertionError("the application was loaded")

    pytest.importorskip("uvicorn")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"cannot listen on 127.0.0.1:{port} .*: choose another"):
            run_server(too_early, HostConfig(port=port), "serve", started=lambda address: None)


@pytest.mark.parametrize(
    ("option", "reason"),
    [({"port": 70000}, "port"), ({"queue": 0}, "queue"), ({"timeout_s": float("inf")}, "timeout_s")],
)
def test_wrong_limits_are_refused(option: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=f"{reason} must"):
        HostConfig(**option)  # type: ignore[arg-type]


def test_which_hosts_are_the_loopback() -> None:
    assert all(HostConfig(host=host).is_loopback for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3"))
    assert not any(HostConfig(host=host).is_loopback for host in ("0.0.0.0", "192.168.1.2", "example.org", "::"))
