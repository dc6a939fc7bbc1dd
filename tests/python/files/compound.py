"""Compound files (OLE) written by hand: no library on PyPI writes them."""

from __future__ import annotations

import itertools
import struct

_SECTOR = 512
_MINI = 64
_CUTOFF = 4096
_END, _FREE, _FAT, _NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF


def compound(streams: dict[str, bytes]) -> bytes:
    """Return a compound file of these streams; one folder deep at most, as in `a/b`."""
    folders = sorted({name.split("/")[0] for name in streams if "/" in name})
    sectors: list[bytes] = []
    chains: list[list[int]] = []

    def store(data: bytes) -> int:
        count = -(-len(data) // _SECTOR)
        if count == 0:
            return _END
        first = len(sectors)
        padded = data.ljust(count * _SECTOR, b"\0")
        sectors.extend(padded[i : i + _SECTOR] for i in range(0, len(padded), _SECTOR))
        chains.append(list(range(first, first + count)))
        return first

    mini = b""
    mini_fat: list[int] = []
    places: dict[str, tuple[int, int]] = {}
    for name, data in streams.items():
        if len(data) >= _CUTOFF:
            places[name] = (store(data), len(data))
            continue
        first = len(mini) // _MINI
        count = -(-len(data) // _MINI)
        mini += data.ljust(count * _MINI, b"\0")
        mini_fat += [*range(first + 1, first + count), _END] if count else []
        places[name] = (first if count else _END, len(data))
    mini_start = store(mini)
    mini_fat_start = store(b"".join(struct.pack("<I", one) for one in mini_fat))
    directory = _directory(folders, places, (mini_start, len(mini)))
    directory_start = store(directory)
    return _assemble(sectors, chains, directory_start, mini_fat_start, len(mini_fat))


def _assemble(
    sectors: list[bytes], chains: list[list[int]], directory: int, mini_fat: int, minis: int
) -> bytes:
    fats = 1
    while fats * (_SECTOR // 4) < len(sectors) + fats:
        fats += 1
    fat = [_FREE] * (fats * (_SECTOR // 4))
    for chain in chains:
        for one, following in zip(chain, [*chain[1:], _END], strict=True):
            fat[one] = following
    places = list(range(len(sectors), len(sectors) + fats))
    for place in places:
        fat[place] = _FAT
    mini_count = -(-minis * 4 // _SECTOR)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIII", 0, fats, directory, 0, _CUTOFF)
    header += struct.pack("<IIII", mini_fat if minis else _END, mini_count, _END, 0)
    header += b"".join(struct.pack("<I", one) for one in [*places, *[_FREE] * (109 - fats)])
    table = b"".join(struct.pack("<I", one) for one in fat)
    return header + b"".join(sectors) + table


def _directory(
    folders: list[str], places: dict[str, tuple[int, int]], mini: tuple[int, int]
) -> bytes:
    """Lay the entries out so that siblings hang to the right of one another, ordered."""
    names = ["Root Entry", *folders, *places]
    index = {name: i for i, name in enumerate(names)}
    children: dict[str, list[str]] = {"Root Entry": [*folders]}
    for name in places:
        folder = name.split("/")[0] if "/" in name else "Root Entry"
        children.setdefault(folder, []).append(name)
    right: dict[str, int] = {}
    first: dict[str, int] = {}
    for folder, inside in children.items():
        ordered = sorted(inside, key=lambda one: (len(one.split("/")[-1]), one.upper()))
        first[folder] = index[ordered[0]]
        for one, following in itertools.pairwise(ordered):
            right[one] = index[following]
    out = b""
    for name in names:
        kind = 5 if name == "Root Entry" else 1 if name in folders else 2
        start, size = places.get(name, mini if kind == 5 else (0, 0))
        short = name.split("/")[-1].encode("utf-16-le")
        out += short.ljust(64, b"\0") + struct.pack("<HBB", len(short) + 2, kind, 1)
        out += struct.pack("<III", _NONE, right.get(name, _NONE), first.get(name, _NONE))
        out += bytes(36) + struct.pack("<IQ", start, size)
    return out
