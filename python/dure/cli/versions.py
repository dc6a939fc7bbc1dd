"""`dure versions`: what this build is made of."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from .output import print_json, rows

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Print build, interpreter and platform."""
    import dure

    known = dure.build_info() | {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "executable": sys.executable,
    }
    if options.json:
        print_json(known)
    else:
        rows(known.items(), indent="")
    return 0
