"""Damaged copies of files, as bad disks, cut downloads and wrong programs make them."""

import random
from collections.abc import Callable


def cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def overwrite(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randrange(1, 20)):
        data[draw.randrange(len(data))] = draw.randrange(256)


def exaggerate(data: bytearray, draw: random.Random) -> None:
    """Writes the smallest and largest numbers into the header."""
    place = draw.randrange(min(200, len(data)))
    data[place : place + 4] = bytes([draw.choice([0, 255, 127, 128])]) * 4


def lose(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data))
    del data[place : place + draw.randrange(1, 2000)]


def insert(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data))
    data[place:place] = draw.randbytes(draw.randrange(1, 2000))


def damage_head(data: bytearray, draw: random.Random) -> None:
    for _ in range(3):
        data[draw.randrange(min(64, len(data)))] = draw.randrange(256)


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    cut,
    overwrite,
    exaggerate,
    lose,
    insert,
    damage_head,
)


def damaged(data: bytes, number: int) -> bytes:
    """Returns copy `number` of `data` with one kind of damage; the same number gives the same copy."""
    draw = random.Random(number)
    copy = bytearray(data)
    KINDS[number % len(KINDS)](copy, draw)
    return bytes(copy)


WORDS = (
    "null",
    "NaN",
    "-1",
    "1e400",
    "[]",
    "{}",
    '"',
    "'",
    "\x00",
    "\ud800",
    "\u2028",
    "!!python/object:os.system",
    "&a",
)
WORDS += ("*a", "<<", "${oc.env:HOME}", "a" * 5000, "\n", "\t", ":", "- ", "0x1F", "true", "../../etc/passwd", "=1+1")


def damaged_text(text: str, number: int) -> bytes:
    """Returns copy `number` of a text in which words are inserted, lost or exchanged, or bytes are damaged."""
    draw = random.Random(number)
    if number % 4 == 0:
        return damaged(text.encode(), number // 4)
    lines = text.splitlines(keepends=True)
    for _ in range(draw.randrange(1, 4)):
        row = draw.randrange(len(lines))
        words = lines[row].split(" ")
        place = draw.randrange(len(words))
        if number % 4 == 1:
            words.insert(place, draw.choice(WORDS))
        elif number % 4 == 2:
            words[place] = draw.choice(WORDS)
        else:
            del words[place]
        lines[row] = " ".join(words)
    return "".join(lines).encode(errors="surrogatepass")
