"""The C++ rooms include only what stands below them (architecture, section 3)."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAY_INCLUDE: dict[str, tuple[str, ...]] = {
    "base": (),
    "text": ("base",),
    "catalog": ("base",),
    "net": ("base",),
    "flow": ("base",),
    "tokenize": ("text", "base"),
    "chunk": ("tokenize", "text", "base"),
    "index": ("text", "base"),
    "money": ("catalog", "base"),
    "policy": ("catalog", "base"),
    "client": ("policy", "money", "catalog", "flow", "net", "tokenize", "base"),
    "fanout": ("client", "base"),
}
PRIVATE = {  # src/ only
    "json": ("catalog", "policy", "index", "client", "bindings"),
    "sql": ("money", "index", "client"),
}
OUTSIDE = {
    r"curl/": "src/net",
    r"simdjson": "src/json",
    r"sqlite3\.h": "src/sql",
    r"faiss/|cblas": "src/index",
    r"pybind11/|Python\.h": "bindings",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^">]+)[">]', re.MULTILINE)


def sources() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "cpp").rglob("*")):
        if path.suffix in {".h", ".cc", ".inc"}:
            yield path, path.relative_to(ROOT / "cpp").as_posix()


def room_of(place: str) -> str:
    parts = place.removeprefix("include/dure/").removeprefix("src/").split("/")
    return parts[0]


def test_rooms_include_downwards_only() -> None:
    wrong = []
    for path, place in sources():
        if place.startswith(("bindings/", "testing/")):
            continue
        room = room_of(place)
        allowed = (*MAY_INCLUDE.get(room, ("base",)), room)
        for target in INCLUDE.findall(path.read_text()):
            match = re.match(r"(?:dure/)?(\w+)/\w+\.(?:h|inc)", target)
            other = match.group(1) if match else room
            if other in PRIVATE:
                ok = room in (*PRIVATE[other], other) and place.startswith("src/")
            elif other in MAY_INCLUDE:
                ok = other in allowed
            else:
                ok = True
            if not ok:
                wrong.append(f"{place} includes {target}: {room} may not know {other}")
    assert wrong == []


def test_outside_libraries_stay_in_their_room() -> None:
    wrong = []
    for path, place in sources():
        for target in INCLUDE.findall(path.read_text()):
            for pattern, home in OUTSIDE.items():
                if re.match(pattern, target) and not place.startswith(home):
                    wrong.append(f"{place} includes {target}: only {home} may")
    assert wrong == []


def test_time_and_chance_are_injected() -> None:
    """Only base reads the machine's clock or generator."""
    banned = re.compile(r"(steady|system)_clock::now|random_device|clock_gettime|\btime\(nullptr\)")
    wrong = [
        f"{place}: {found.group(0)}: take a base::Clock or base::Random"
        for path, place in sources()
        if not place.startswith("src/base/")
        if (found := banned.search(path.read_text()))
    ]
    assert wrong == []
