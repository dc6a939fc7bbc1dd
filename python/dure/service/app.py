"""The FastAPI application: everything is built here, opened and closed by the lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import Scope

import dure
from dure.aio import AsyncClient, HttpClient
from dure.calls.settings import data_folder
from dure.db import schema
from dure.db.engine import Database, sqlite_url
from dure.service import api, errors
from dure.service.audit.tasks import Keeper
from dure.service.auth import service as logins
from dure.service.auth.gate import Gate
from dure.service.auth.identities import Identities
from dure.service.auth.oidc import BrowserLogins
from dure.service.auth.policy import (
    PolicyRoute,
    check,
    check_routes,
    policy_of,
    public,
    public_paths,
    requires,
)
from dure.service.channels.senders import Senders
from dure.service.channels.tasks import Courier
from dure.service.contents.tasks import Contents
from dure.service.files.service import Files
from dure.service.health.endpoints import figures
from dure.service.inference.embedders import manager_of
from dure.service.keyrings import read_ring
from dure.service.kit import pages
from dure.service.kit.addresses import Addresses
from dure.service.kit.capture import Capture
from dure.service.kit.clients import Clients
from dure.service.kit.clock import Clock, SystemClock
from dure.service.kit.envelope import Envelope
from dure.service.kit.frame import (
    LOCAL_HOSTS,
    AddressRate,
    CallerRate,
    Caps,
    Entry,
    Hosts,
)
from dure.service.kit.hot import Gzip, Hot
from dure.service.kit.jobs import Jobs
from dure.service.kit.observed import AccessLog, Metrics, Observer
from dure.service.kit.reload import Reloaded
from dure.service.kit.secret import Secret
from dure.service.kit.state import Drain, State
from dure.service.knowledge.service import INDEX, Knowledge
from dure.service.knowledge.shelves import Shelves
from dure.service.knowledge.tasks import Indexer
from dure.service.limits.fleet import SharedLimits, folder_name
from dure.service.limits.service import Limits
from dure.service.prompts.tasks import Evaluations
from dure.service.provider_keys.service import ProviderKeys
from dure.service.rates import Limiter
from dure.service.reports.tasks import Watch
from dure.service.settings import Settings, is_loopback
from dure.service.usage.poster import LedgerPoster, host_of

__all__ = ["create_app", "database_of", "envelope_of", "prepare", "reload"]

_ABOUT = """An OpenAI-shaped gateway: point any OpenAI client at `/v1`.

Send an API key or an access token as `Authorization: Bearer KEY`. Errors have OpenAI's shape
everywhere. The paths under *alias* are other names for those above."""
Work = Callable[[], Awaitable[object]]
_logger = logging.getLogger("dure.service")
_GZIP_FROM = 2048
_END_SECONDS = 10.0  # that work under way may take when the app ends
_RENEW_SECONDS = 3600.0  # between two looks for documents of another embedding model
_CHAT = ("/api/v1/chat", "/api/v1/chat/stream")


def create_app(settings: Settings | None = None, *, clock: Clock | None = None) -> FastAPI:
    """Return the application; `settings=None` reads the environment.

    Raises:
        InvalidArgumentError: the settings cannot work; all faults are named.
        StorageError: the access log cannot be opened.
        InternalError: a route declares no policy.
    """
    known = settings or Settings()
    time = clock or SystemClock()
    app = FastAPI(
        title="dure",
        version=dure.__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lambda one: _lifespan(one, known, time),
    )
    app.router.route_class = PolicyRoute
    own = known.dev or is_loopback(known.host)
    errors.install(app)
    pages.install(app, public if own else requires(role="admin", operator=True))
    api.mount(app, figures(is_open=own))
    check_routes(app.routes)
    app.openapi = lambda: api.openapi_with_aliases(app)  # type: ignore[method-assign]
    app.state.metrics, app.state.limits = Metrics(), Reloaded(known)
    _frame(app, known, time)
    return app


async def prepare(settings: Settings) -> Path | None:
    """Bring the database up to date before anything listens.

    Returns:
        Where the first-start token lies, while nobody can log in.

    Raises:
        StorageError, StoreVersionError, InvalidArgumentError: the database cannot be used.
    """
    data = data_folder(settings.data)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = database_of(settings)
    try:
        await schema.ensure(database)
        await logins.prepare(database, SystemClock(), off=settings.auth == "off")
        return await logins.first_start(database, data, SystemClock(), off=settings.auth == "off")
    finally:
        await database.close()


def _frame(app: FastAPI, settings: Settings, clock: Clock) -> None:
    """Put the layers around the router: the last one added is the outermost."""
    limiter, limits = Limiter(), app.state.limits

    def rates(scope: Scope) -> Iterator[tuple[str, str]]:
        subject = scope["state"].get("subject")
        if subject is None:
            return
        if limits.rate_caller is not None:
            yield limits.rate_caller, subject.principal
        if subject.rate is not None:
            yield subject.rate, f"own:{subject.principal}"
        if limits.rate_chat is not None and scope["path"] in _CHAT:
            yield limits.rate_chat, f"chat:{subject.principal}"

    app.add_middleware(Hot, routes=app.routes, check=_checked)
    app.add_middleware(Capture, contents=lambda: app.state.contents, now=clock.now)
    app.add_middleware(CallerRate, rates=rates, limiter=limiter)
    app.add_middleware(
        Gate,
        settings=settings,
        identities=lambda: app.state.identities,
        is_public=public_paths(app.routes),
    )
    app.add_middleware(AddressRate, rate=lambda: limits.rate_address, limiter=limiter)
    app.add_middleware(Gzip, routes=app.routes, least=_GZIP_FROM)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials=True,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "authorization",
                "content-type",
                "idempotency-key",
                "x-api-key",
                "x-csrf-token",
            ],
            expose_headers=["x-request-id", "x-usage-warning", "retry-after"],
        )
    app.add_middleware(Caps, body=settings.max_body_bytes, headers=settings.max_header_bytes)
    app.add_middleware(Hosts, allowed=_hosts(settings), canonical=api.canonical)
    log = AccessLog(settings.access_log)
    observer = Observer(log, app.state.metrics, lambda: clock.now().isoformat())
    app.state.access_log = log
    app.add_middleware(Entry, observer=observer, addresses=Addresses(settings.trusted_proxies))


def _checked(route: BaseRoute, scope: Scope) -> None:
    policy = policy_of(route)
    assert policy is not None  # check_routes saw it
    check(policy, scope["state"].get("subject"))


def _hosts(settings: Settings) -> frozenset[str] | None:
    """Return the names that may be asked for; None: any."""
    if settings.allowed_hosts:
        return frozenset(name.lower() for name in settings.allowed_hosts) | LOCAL_HOSTS
    return LOCAL_HOSTS if is_loopback(settings.host) and settings.auth == "off" else None


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: Settings, clock: Clock) -> AsyncIterator[None]:
    """Open everything, give the app its state, close it all in the reverse order."""
    data = data_folder(settings.data)
    async with AsyncExitStack() as stack:
        stack.callback(app.state.access_log.close)
        clients = Clients(settings, data)
        stack.push_async_callback(clients.close)
        database = database_of(settings)
        stack.push_async_callback(database.close)
        await schema.ensure(database)
        given = settings.secret_key
        secret = Secret.of(None if given is None else given.get_secret_value(), data)
        envelope = envelope_of(settings, secret)
        state = State(settings, data, clients, database, secret, clock, Drain(), envelope)
        app.state.dure = state
        off = settings.auth == "off"
        await logins.prepare(database, clock, off=off)
        await logins.first_start(database, data, clock, off=off)
        http = await stack.enter_async_context(HttpClient(timeout=5.0))
        app.state.provider_keys = ProviderKeys(state)
        await app.state.provider_keys.look()
        fleet = _fleet(settings, clients.current, data)
        if fleet is not None:
            stack.push_async_callback(asyncio.to_thread, fleet.close)
        app.state.budgets = limits = Limits(state, fleet)
        await limits.keep()
        identities = Identities(state, http, admit=limits.admit)
        app.state.identities = identities
        app.state.logins = logins.Logins(state, identities)
        stack.callback(app.state.logins.close)
        app.state.browser_logins = BrowserLogins(state, http, identities, app.state.logins)
        app.state.evaluations = Evaluations(state)
        stack.push_async_callback(app.state.evaluations.close)
        await stack.enter_async_context(_every(60.0, identities.write_used))
        await stack.enter_async_context(_keeps(app, state))
        await stack.enter_async_context(_hears_hangup(app))
        poster = LedgerPoster(database, data)
        await stack.enter_async_context(_knows(app, state))
        await stack.enter_async_context(_every(1.0, limits.look))
        if fleet is not None:
            await stack.enter_async_context(_every(1.0, limits.keep))
        await stack.enter_async_context(_every(1.0, poster.post))
        yield


@asynccontextmanager
async def _keeps(app: FastAPI, state: State) -> AsyncIterator[None]:
    """Keep contents, tell who wants to be told, and do what is done once in a while."""
    async with AsyncExitStack() as stack:
        app.state.contents = contents = Contents(state)
        await contents.look()
        await stack.enter_async_context(_every(1.0, contents.write))
        app.state.senders = await stack.enter_async_context(Senders(state.settings))
        app.state.courier = Courier(state, app.state.senders)
        app.state.watch = Watch(state)
        for seconds, work in (
            (1.0, app.state.courier.work),
            (15.0, contents.look),
            (15.0, app.state.provider_keys.look),
            (60.0, app.state.watch.work),
            (600.0, contents.prune),
            (3600.0, Keeper(state).work),
        ):
            await stack.enter_async_context(_every(seconds, work, at_end=False))
        yield


@asynccontextmanager
async def _knows(app: FastAPI, state: State) -> AsyncIterator[None]:
    """Open files and documents, and work off what is queued."""
    app.state.files = files = Files(state)
    shelves = Shelves(state.settings, state.data)
    app.state.model = models = manager_of(state.settings)
    app.state.knowledge = Knowledge(state, files, shelves, models)
    app.state.indexer = indexer = Indexer(state, files, shelves, models)
    app.state.jobs = jobs = Jobs(
        state.database,
        state.clock,
        host=await asyncio.to_thread(host_of, state.data),
        handlers={INDEX: indexer.index},
        failed=indexer.failed,
    )
    running = asyncio.create_task(jobs.run())
    try:
        async with _every(_RENEW_SECONDS, app.state.knowledge.renew, at_end=False):
            yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await models.close()
        await asyncio.to_thread(shelves.close)


def _fleet(settings: Settings, client: AsyncClient, data: Path) -> SharedLimits | None:
    """Return what shares limits with other hosts, if there are any."""
    url = settings.fleet_url
    if url is None:
        return None
    host = settings.fleet_host or f"{socket.gethostname()}-{folder_name(data)}"
    return SharedLimits(client.budgets, url.get_secret_value(), host)


def envelope_of(settings: Settings, secret: Secret) -> Envelope:
    """Return what seals the service's secrets."""
    ring = settings.encryption_keys
    return Envelope(secret, None if ring is None else read_ring(ring.get_secret_value()))


def database_of(settings: Settings) -> Database:
    """Return the database: the one that was named, or a file in the data folder."""
    url = settings.database_url
    if url is not None:
        return Database(
            url.get_secret_value(), schema=settings.database_schema, pool=settings.database_pool
        )
    data = data_folder(settings.data)
    return Database(sqlite_url(data / "service.db"), pool=settings.database_pool)


@asynccontextmanager
async def _every(seconds: float, work: Work, *, at_end: bool = True) -> AsyncIterator[None]:
    """Do something now and then, `at_end` once more; what fails is tried next time.

    What is under way at the end is waited for, so that no unit of work is broken off.
    """
    stop = asyncio.Event()

    async def run() -> None:
        while not await _set_within(stop, seconds):
            await _tried(work)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=_END_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if at_end:
            await _tried(work)


async def _tried(work: Work) -> None:
    try:
        await work()
    except dure.DureError:
        pass  # as a database that is away: `/health/ready` says so
    except Exception:
        _logger.exception("work in the background failed; it is tried again")


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def reload(app: FastAPI) -> None:
    """Read rates, policies, prices, provider keys, what is kept of whom, and callers anew.

    What cannot be used leaves the last good settings, and the log says why.
    """
    await app.state.limits.again(app.state.dure.clients)
    for look in (app.state.provider_keys.look, app.state.contents.look):
        with contextlib.suppress(dure.DureError):
            await look()
    app.state.identities.forget()


@asynccontextmanager
async def _hears_hangup(app: FastAPI) -> AsyncIterator[None]:
    """Read settings, keys and callers anew on SIGHUP, where this thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    under_way: set[asyncio.Task[None]] = set()

    def hear() -> None:
        task = loop.create_task(reload(app))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    loop.add_signal_handler(signal.SIGHUP, hear)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def __getattr__(name: str) -> object:
    if name == "app":  # for uvicorn: dure.service.app:app
        return create_app()
    raise AttributeError(f"module 'dure.service.app' has no attribute {name!r}")
