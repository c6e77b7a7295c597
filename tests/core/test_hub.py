"""Where weights are found: local places, the hub's cache, and a hub that refuses, each with what the message says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_cache import COMMIT, answering_hub, make_cache

from latentune.core.errors import CheckpointError
from latentune.core.hub import Source, fetch_folder, is_downloaded, is_hub_id, shortened

HUB_ID = "owner/name"


def test_a_local_file_and_a_local_folder(tmp_path: Path) -> None:
    for name in ("a.bin", "sub/b.bin", "config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = Source(tmp_path)
    assert folder.find("x.bin", "a.bin") == folder.file("a.bin") == tmp_path / "a.bin"
    assert (folder.find("x.bin"), folder.given, str(folder)) == (None, None, str(tmp_path))
    assert Source(tmp_path, {"subfolder": "sub"}).file("b.bin") == tmp_path / "sub/b.bin"
    file = Source(tmp_path / "a.bin")
    assert (file.given, file.find("config.json")) == (tmp_path / "a.bin", tmp_path / "config.json")
    config = Source(tmp_path / "config.json")
    assert (config.given, config.folder) == (None, tmp_path)
    with pytest.raises(CheckpointError, match=r"contains none of x\.bin, y\.bin"):
        folder.file("x.bin", "y.bin")
    with pytest.raises(CheckpointError, match=r"neither a file or folder at .*absent"):
        Source(tmp_path / "absent")
    with pytest.raises(TypeError, match=r"no option revison.*did you mean 'revision'"):
        Source(tmp_path, {"revison": "x"})


def test_what_reads_as_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_hub_id(HUB_ID)
    for path in ("name", "a/b/c", "./a", "/a", "~/a", "a/b.safetensors", "a/model.ckpt"):
        assert not is_hub_id(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / HUB_ID).mkdir(parents=True)
    assert not is_hub_id(HUB_ID)


def test_a_cached_repository_is_found_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make_cache(tmp_path, HUB_ID, {"a.bin": b"a", "sub/b.bin": b"b"})
    source = Source(HUB_ID, {"cache_dir": tmp_path})
    assert source.file("x.bin", "a.bin").read_bytes() == b"a"
    assert source.find("x.bin") is None
    make_cache(tmp_path, "owner/layouts", {"new.bin": b"new", "old.bin": b"old"})
    both = Source("owner/layouts", {"cache_dir": tmp_path})
    assert both.file("new.bin", "old.bin").read_bytes() == b"new"
    assert Source(HUB_ID, {"cache_dir": tmp_path, "subfolder": "sub"}).file("b.bin").read_bytes() == b"b"
    assert Source(HUB_ID, {"cache_dir": tmp_path, "revision": COMMIT, "token": "x"}).file("a.bin").is_file()
    assert fetch_folder(HUB_ID, cache_dir=tmp_path, subfolder="sub") == cache / "snapshots" / COMMIT / "sub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert is_downloaded(HUB_ID, "x.bin", "a.bin")
    assert not is_downloaded(HUB_ID, "x.bin")


def test_without_a_network_the_message_says_what_is_there_and_what_to_do(tmp_path: Path) -> None:
    options = {"cache_dir": tmp_path}
    advice = rf"`hf download {HUB_ID} --local-dir FOLDER`, and pass FOLDER in place of the name$"
    with pytest.raises(CheckpointError, match=rf"a\.bin of {HUB_ID}.*HF_HUB_OFFLINE=1 is set.*nor a copy.*{advice}"):
        Source(HUB_ID, options).file("a.bin")
    with pytest.raises(
        CheckpointError, match=f"local_files_only=True is given, and there is neither a folder.*{advice}"
    ):
        Source(HUB_ID, {**options, "local_files_only": True}).file("a.bin")
    with pytest.raises(CheckpointError, match=f"files of {HUB_ID} from the hub: .*neither a folder {HUB_ID} here"):
        fetch_folder(HUB_ID, **options)
    cache = make_cache(tmp_path, HUB_ID, {"a.bin": b"a"})
    with pytest.raises(CheckpointError, match=rf"has revision {COMMIT}, main\. .*--revision v2 --local-dir FOLDER"):
        Source(HUB_ID, {**options, "revision": "v2"}).file("a.bin")
    with pytest.raises(CheckpointError, match=f"models--owner--name has only part of it.*{advice}"):
        Source(HUB_ID, options).file("weights.bin")
    (cache / "blobs/abc.1f.incomplete").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=f"models--owner--name holds an interrupted download.*{advice}"):
        Source(HUB_ID, options).file("weights.bin")
    (cache / "snapshots" / COMMIT / "a.bin").resolve().unlink()  # a pointer into nowhere
    with pytest.raises(CheckpointError, match="interrupted download"):
        Source(HUB_ID, options).file("a.bin")


def test_a_name_that_the_hub_does_not_allow() -> None:
    with pytest.raises(CheckpointError, match=r"cannot fetch a\.bin of own er/name from the hub: .*Repo id"):
        Source("own er/name").file("a.bin")


ASK = """
import json, sys, time
from latentune.core.errors import CheckpointError
from latentune.core.hub import Source
answers = {}
for question, (hub_id, options) in json.loads(sys.argv[1]).items():
    begin = time.monotonic()
    source = Source(hub_id, options)
    try:
        answers[question] = source.file("x.bin", "a.bin").read_text()
    except CheckpointError as error:
        answers[question] = str(error)
    answers[question + " find"] = "refused"
    try:
        answers[question + " find"] = str(source.find("x.bin"))
    except CheckpointError:
        pass
print(json.dumps(answers))
"""


def ask(endpoint: str, cache: Path, questions: dict[str, tuple[str, dict[str, str]]]) -> dict[str, str]:
    """Asks sources in a process of its own that may use the network, whose hub is at `endpoint`."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", ASK, json.dumps(questions)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


def test_a_hub_that_answers(tmp_path: Path) -> None:
    """The status and headers are those that the hub sends."""
    refused = {"owner/gated": (403, "GatedRepo"), "owner/private": (401, "RepoNotFound"), "owner/broken": (400, "X")}
    files = {f"{HUB_ID}/a.bin": b"content", "owner/cached/x.bin": b"larger", "owner/cached/a.bin": b"content"}
    with answering_hub(files, refused) as endpoint:
        questions = {name: (f"owner/{name}", {}) for name in ("name", "gated", "private", "broken")}
        questions["revision"] = (HUB_ID, {"revision": "v9"})
        questions["lacking"] = (HUB_ID, {"subfolder": "sub"})
        make_cache(tmp_path, "owner/cached", {"a.bin": b"content"})
        questions["cached"] = ("owner/cached", {})
        said = ask(endpoint, tmp_path, questions)
    assert said["name"] == said["cached"] == "content"  # of "cached", not x.bin, which the hub has as well
    assert said["name find"] == said["lacking find"] == "None"
    assert f"it is gated. Accept its terms at {endpoint}/owner/gated and log in with `hf auth login`" in said["gated"]
    assert "there is no such repository, or it is private" in said["private"]
    assert f"{endpoint}/owner/private" in said["private"]
    assert said["gated find"] == said["private find"] == said["revision find"] == "refused"
    assert said["revision"].endswith(f"it has no revision 'v9'. {endpoint}/{HUB_ID}/commits lists its revisions")
    assert said["lacking"].endswith(f"it has no such file. {endpoint}/{HUB_ID}/tree/main lists its files")
    assert "cannot fetch x.bin of owner/broken from the hub: " in said["broken"]
    assert "the hub's own words about X" in said["broken"]


@pytest.mark.slow  # huggingface_hub tries for 23 s to reach a hub that does not answer
def test_an_outage_is_noticed_once(tmp_path: Path) -> None:
    make_cache(tmp_path, HUB_ID, {"a.bin": b"cached"})
    said = ask("http://127.0.0.1:9", tmp_path, {"name": (HUB_ID, {}), "absent": ("owner/absent", {})})
    assert said["name"] == "cached"
    assert "it cannot be reached (" in said["absent"]
    assert "nor a copy in" in said["absent"]


def test_messages_are_cut_between_words() -> None:
    url = "https://huggingface.co/" + 30 * "x"
    assert shortened(f"a  b\n{url} and so on", 62) == f"a b {url} ..."
    assert shortened(f"a b {url}", 20) == "a b ..."
