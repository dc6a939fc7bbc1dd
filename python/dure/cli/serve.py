"""`dure serve`: the HTTP service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Run the service until it is told to stop."""
    from dure.errors import MissingExtraError

    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as missing:
        raise MissingExtraError.of("service", missing.name or "fastapi") from None
    from dure.service.settings import Settings

    from .places import data_folder

    settings = Settings.from_environment(
        dev=options.dev, host=options.host, port=options.port, data=data_folder(options)
    )
    os.environ.update(settings.to_environment())  # workers and the app factory read it there
    uvicorn.run(
        "dure.service.app:app",
        host=options.host,
        port=options.port,
        workers=options.workers,
        log_level="info" if options.dev else "warning",
        timeout_graceful_shutdown=30,
    )
    return 0
