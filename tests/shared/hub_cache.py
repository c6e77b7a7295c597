"""A hub's cache made by hand, as huggingface_hub lays it out, and a hub that answers on the loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_cache(
    root: Path, hub_id: str, files: Mapping[str, Path | bytes], *, revision: str = "main", commit: str = COMMIT
) -> Path:
    """Writes a repository into the cache folder `root`.

    Args:
        root: the cache folder, as in `cache_dir`.
        hub_id: `owner/name`.
        files: name inside the repository -> a local file, or its content.
        revision: branch or tag.
        commit: the commit that it stands for.

    Returns:
        The folder of the repository in the cache.
    """
    cache = root / f"models--{hub_id.replace('/', '--')}"
    for name in ("blobs", "refs", f"snapshots/{commit}"):
        (cache / name).mkdir(parents=True, exist_ok=True)
    (cache / "refs" / revision).write_text(commit)
    for name, content in files.items():
        content = content.read_bytes() if isinstance(content, Path) else content
        blob = cache / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        pointer = cache / "snapshots" / commit / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.symlink_to(blob)
    return cache


@contextmanager
def answering_hub(files: Mapping[str, bytes], refused: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    """Runs a hub on the loopback and yields its address.

    Args:
        files: `owner/name/file` of revision main -> content.
        refused: `owner/name` -> HTTP status and the hub's own error code, such as `(403, "GatedRepo")`.
    """

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_content=False)

        def do_GET(self) -> None:
            self.answer(with_content=True)

        def answer(self, with_content: bool) -> None:
            owner, name, _, revision, *rest = [*self.path.strip("/").split("/"), *3 * [""]]
            content = files.get("/".join((owner, name, *filter(None, rest))))
            if f"{owner}/{name}" in refused:
                self.refuse(*refused[f"{owner}/{name}"])
            elif revision not in ("main", COMMIT):
                self.refuse(404, "RevisionNotFound")
            elif content is None:
                self.refuse(404, "EntryNotFound")
            else:
                self.send_response(200)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if with_content else b"")

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"the hub's own words about {code}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
