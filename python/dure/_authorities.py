"""Where certificate authorities are found when the machine has none of its own."""

from __future__ import annotations

from functools import cache


@cache
def certifi_files() -> tuple[str, ...]:
    """Return where certifi keeps its authorities, if it is installed; not imported for that."""
    from importlib.util import find_spec

    spec = find_spec("certifi")
    places = spec.submodule_search_locations if spec is not None else None
    return tuple(f"{place}/cacert.pem" for place in places or ())
