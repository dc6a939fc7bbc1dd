"""`dure serve`: the HTTP service."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError, MissingExtraError, StorageError, UnavailableError

from .output import print_json, rows, say
from .places import data_folder
from .provider import provider_url, require_provider

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from dure.service.settings import Settings

APP = "dure.service.app:app"


def run(options: argparse.Namespace) -> int:
    """Run the service until it is told to stop; whatever keeps it from starting is said first."""
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as missing:
        raise MissingExtraError.of("service", missing.name or "fastapi") from None
    from dure.service.kit import logs
    from dure.service.kit.serving import DrainingServer, Workers, leave

    settings = _settings(options)
    _check_provider(settings)
    os.environ.update(settings.to_environment())  # workers and the app factory read it there
    first = _prepare(settings)
    listener = _listener(settings.host, settings.port)
    port = int(listener.getsockname()[1])
    _announce(settings, port, first, json=options.json)
    logs.configure(settings)
    for told in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when all has ended
        signal.signal(told, signal.default_int_handler)
    config = uvicorn.Config(
        APP,
        log_config=None,
        access_log=False,  # the service has its own
        proxy_headers=False,  # DURE_TRUSTED_PROXIES says whose headers count
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    server = DrainingServer(config)
    try:
        if options.workers > 1:
            _share_metrics()
            Workers(config, listener, options.workers).run()
            leave()
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        leave()
    if not server.started:
        raise UnavailableError("the service did not start: the lines above say why")
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings: what the command line says, then all other sources.

    Raises:
        InvalidArgumentError: naming everything that is wrong.
    """
    from dure.service.settings import Settings

    given = {"dev": options.dev or None, "host": options.host, "port": options.port}
    known = {name: value for name, value in given.items() if value is not None}
    return Settings(**known, data=data_folder(options))


def _prepare(settings: Settings) -> Path | None:
    """Bring the database up to date; return where the first-start token lies, if there is one.

    Raises:
        StorageError, InvalidArgumentError: the database cannot be used; the message says why.
    """
    import asyncio

    from dure.service.app import prepare

    return asyncio.run(prepare(settings))


def _share_metrics() -> None:
    """Let each worker tell the figures of all."""
    import tempfile

    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="dure-metrics-")


def _check_provider(settings: Settings) -> None:
    """Open what every request needs, once, before a port is taken.

    Raises:
        InvalidArgumentError: there is no provider; the message says what to do.
        StorageError: the data folder cannot be written.
    """
    from dure._sync import Client

    try:
        Client(data=settings.data).close()
    except InvalidArgumentError as wrong:
        if wrong.argument == "api_key":
            require_provider()
        raise
    except StorageError as refused:
        raise StorageError(f"{refused}: name another data folder by --data or DURE_DATA") from None


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        InvalidArgumentError: the address cannot be had; the message says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as refused:
        reason = os.strerror(refused.errno) if refused.errno else str(refused)
        raise InvalidArgumentError(
            f"cannot listen on {host} port {port}: {reason}: choose another --port or --host, or "
            "end what listens there",
            argument="port",
        ) from None


def _priced(model: str) -> str:
    """Return a model with its prices, as it is announced."""
    from dure.models import MODEL_CATALOG

    known = MODEL_CATALOG[model]
    prices = f"${known.input_price_per_1m:g}"
    if known.output_price_per_1m:
        prices += f" in, ${known.output_price_per_1m:g} out"
    return f"{model} ({prices} per 1M tokens)"


def _login(settings: Settings) -> str:
    if settings.auth == "off":
        return "SKIPPED (DURE_AUTH=off): this machine's own programs only"
    return "an API key or an access token" + (
        ", or a key of DURE_API_KEYS" * bool(settings.api_keys)
    )


def _announce(settings: Settings, port: int, first: Path | None, *, json: bool) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{port}"
    facts = {
        "address": address,
        "data": str(settings.data),
        "provider": provider_url(),
        "login": _login(settings),
        "chat model": _priced(settings.chat_model),
        "embed model": _priced(settings.embed_model),
        "docs": f"{address}/docs",
    }
    if first is not None:
        facts["first start"] = f"nobody can log in yet: the token is in {first}"
    if json:
        print_json(facts)
        return
    say("dure serves; Ctrl-C ends it")
    rows(facts.items())
