"""The processes of the service: they stop in good order when told, and at once when told twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import NoReturn

import uvicorn

from dure.errors import UnavailableError
from dure.service.kit import logs
from dure.service.settings import Settings

__all__ = ["DrainingServer", "Workers", "leave"]

_LATECOMERS = 0.5  # seconds in which what was already on its way still gets its answer
_TICK = 0.02
_UVICORNS_TICK = 0.1  # its dates are made, and its limits looked at, that often
_TICKS_A_DAY = 864_000
_RESTART_PAUSE = 0.5  # seconds before a worker that died is replaced


class DrainingServer(uvicorn.Server):
    """Answers what has come, then stops; a second signal ends it at once.

    uvicorn resets connections that the kernel has accepted and nobody has read from yet. This one
    takes no new connections, reads those that are there, lets each finish the request it has, and
    only then closes what is idle.

    Args:
        config: uvicorn's.
        supervised: A parent passes signals on, so a terminal's Ctrl-C is not counted twice.
    """

    def __init__(self, config: uvicorn.Config, *, supervised: bool = False) -> None:
        super().__init__(config)
        self._supervised = supervised
        self._latecomers = _LATECOMERS
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the second time, leave what is under way."""
        if sig == signal.SIGINT:
            self._latecomers = 0.0  # a person waits
            if self._supervised:
                return
        if self.should_exit:
            self.force_exit = True
        self._not_ready()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)
        super().handle_exit(sig, frame)

    def _not_ready(self) -> None:
        """Let `/health/ready` say that no more requests are welcome."""
        state = getattr(getattr(self.config, "loaded_app", None), "state", None)
        known = getattr(state, "dure", None)
        if known is not None:
            known.drain.begun = True

    async def main_loop(self) -> None:
        """Tick ten times a second as uvicorn does, but hear at once that it is to stop."""
        self._loop = asyncio.get_running_loop()
        for counter in itertools.count():
            if await self.on_tick(counter % _TICKS_A_DAY):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _UVICORNS_TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the requests under way end within `timeout_graceful_shutdown`, then close."""
        if not self._supervised:  # its listener is the siblings' too
            for listener in sockets or []:
                listener.listen(0)  # what was accepted stays in the queue, nothing is added to it
        loop = asyncio.get_running_loop()
        self._finish_those_under_way()
        until = loop.time() + self._latecomers
        while loop.time() < until and not self.force_exit:
            self._finish_those_under_way()
            await asyncio.sleep(_TICK)
        await super().shutdown(sockets)

    def _finish_those_under_way(self) -> None:
        """Make each connection that has a request close after its answer."""
        for one in list(self.server_state.connections):
            cycle = getattr(one, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                one.shutdown()


class Workers:
    """Several server processes on one listener; one that dies is replaced."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, count: int) -> None:
        self._config, self._listener = config, listener
        self._spawn = multiprocessing.get_context("spawn")
        signal.signal(signal.SIGHUP, self._pass_on)
        self._running = [self._start() for _ in range(count)]

    def run(self) -> None:
        """Watch over them until SIGINT or SIGTERM (raised as KeyboardInterrupt), then end them.

        Raises:
            UnavailableError: a worker could not start; the others are ended.
        """
        try:
            while True:
                connection.wait([worker.sentinel for worker in self._running])
                self._replace_the_dead()
        except KeyboardInterrupt:
            self._listener.listen(0)
        finally:
            self._end()

    def _pass_on(self, sig: int, _frame: FrameType | None) -> None:
        """Let every worker read its settings anew."""
        for worker in self._running:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, sig)

    def _start(self) -> SpawnProcess:
        worker = self._spawn.Process(target=_work, args=(self._config, self._listener))
        worker.start()
        return worker

    def _replace_the_dead(self) -> None:
        for i, worker in enumerate(self._running):
            if worker.is_alive():
                continue
            if worker.exitcode == uvicorn.config.STARTUP_FAILURE:
                raise UnavailableError("a worker did not start: the lines above say why")
            time.sleep(_RESTART_PAUSE)
            self._running[i] = self._start()

    def _end(self) -> None:
        while any(worker.is_alive() for worker in self._running):
            for worker in self._running:
                worker.terminate()
            try:
                for worker in self._running:
                    worker.join()
            except KeyboardInterrupt:
                continue  # told twice: so are they


def leave() -> NoReturn:
    """End the process now, everything being closed: the interpreter's own farewell takes 200 ms."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def _work(config: uvicorn.Config, listener: socket.socket) -> None:
    logs.configure(Settings())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        DrainingServer(config, supervised=True).run(sockets=[listener])
    except KeyboardInterrupt:
        leave()
