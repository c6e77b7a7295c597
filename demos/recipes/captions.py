"""The corpora's manifest -> one whose `text` is a short English caption, to train generators on.

python demos/recipes/captions.py CORPORA/manifest.jsonl captions.jsonl --every 5
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from latentune.core.files import write_text

MUSIC = {
    "wesnoth-1.16-music": "classical orchestral music",
    "marsshooter-data": "metal music with a female voice",
    "colobot-common-sounds": "electronic soundtrack music",
    "fretsonfire-songs-muldjord": "death metal music",
    "fretsonfire-songs-sectoid": "rock music with electric guitar",
}
LANGUAGES = {"en": "English", "ru": "Russian", "cs": "Czech", "nl": "Dutch"}


def caption(row: dict) -> str:
    if row["kind"] == "speech":
        return f"a voice speaking {LANGUAGES[row['language']]}"
    return MUSIC[row["package"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--every", type=int, default=1, help="keep every n-th file of the training split")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.manifest.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "train"][:: arguments.every]
    kept = []
    for row in rows:
        path = str(arguments.manifest.resolve().parent / row["path"])
        facts = {key: row[key] for key in ("kind", "package", "licence")}
        kept.append(json.dumps({"path": path, "text": caption(row), **facts}, ensure_ascii=False))
    write_text(arguments.output, "\n".join(kept) + "\n")


if __name__ == "__main__":
    main()
