"""`ModelManager`: models of this machine, each loaded once on first use and then reused.

Requests wait in a bounded line per model and travel in small batches. Models of a device share a
cap on its memory: what was used longest ago is unloaded first, and never while it is asked. Running
out of memory halves the batch before it fails anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dure.errors import DeadlineError, DureError, NotFoundError, OutOfMemoryError, QueueFullError

_LAST_SECONDS = 5.0  # for what runs when the app ends
__all__ = ["Model", "ModelLoadError", "ModelManager", "ModelSpec"]


class ModelLoadError(DureError):
    """A model of this machine cannot be loaded; its log line says why."""

    default_code = "model_not_loaded"
    default_http_status = 503


class Model(Protocol):
    """What a loader gives; may have `close()`. Called by one thread at a time."""

    def __call__(self, items: Sequence[Any], /) -> Sequence[Any]:
        """Return one result per item, in order."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to load a model, where it runs, and what it takes there.

    Attributes:
        load: Called in a thread, once.
        device: Models of one device share its cap, and run one batch at a time.
        bytes: Memory that it takes on the device.
        max_batch: Items of one batch.
        max_waiting: Items that wait before others are refused.
        timeout: Seconds from asking to the answer, the load included.
    """

    load: Callable[[], Model]
    device: str = "cpu"
    bytes: int = 0
    max_batch: int = 32
    max_waiting: int = 1024
    timeout: float = 60.0


@dataclass(slots=True, eq=False)
class _Loaded:
    """A model in memory and who waits for it."""

    name: str
    spec: ModelSpec
    model: Model
    waiting: deque[tuple[Any, asyncio.Future[Any]]] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody asks it."""
        return not self.waiting and (self.worker is None or self.worker.done())


class ModelManager:
    """Loads and asks models. Owner loop only; the models themselves run in threads.

    Args:
        specs: What can be had, by name.
        caps: Bytes that the models of a device may take together; a device without one: any.
        gather: Seconds that the first item of a batch waits for others.
    """

    def __init__(
        self,
        specs: dict[str, ModelSpec],
        *,
        caps: dict[str, int] | None = None,
        gather: float = 0.003,
    ) -> None:
        self._specs, self._caps, self._gather = dict(specs), dict(caps or {}), gather
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()  # used last, last
        self._loading: dict[str, asyncio.Task[_Loaded]] = {}
        self._locks: dict[str, asyncio.Lock] = {}  # one a device
        self._closed = False

    @property
    def loaded(self) -> list[str]:
        """Names of the models in memory, used longest ago first."""
        return list(self._loaded)

    async def get_model(self, name: str) -> Model:
        """Return a model, loaded on first use and reused from then on.

        Raises:
            NotFoundError: there is none of this name.
            ModelLoadError: it cannot be loaded; the next call tries again.
            OutOfMemoryError: there is no room for it.
        """
        return (await self._get(name)).model

    async def infer(self, name: str, item: Any) -> Any:  # noqa: ANN401 - the model's own
        """Ask a model about one item; items asked at once travel together.

        Raises:
            QueueFullError: too many wait.
            DeadlineError: time ran out, loading included; a batch that runs goes on for the others.
            OutOfMemoryError: there is no memory even for this item alone.
            DureError: as `get_model`.
        """
        spec = self._spec(name)
        try:
            async with asyncio.timeout(spec.timeout):
                known = await self._get(name)
                if len(known.waiting) >= spec.max_waiting:
                    raise QueueFullError(f"too many wait for {name}", retry_after=1.0)
                future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                known.waiting.append((item, future))
                if known.worker is None or known.worker.done():
                    known.worker = asyncio.create_task(self._work(known))
                return await future
        except TimeoutError as late:
            if isinstance(late, DureError):
                raise
            raise DeadlineError(
                f"{name} did not answer within {spec.timeout:g} s", stage="inference"
            ) from None

    async def infer_many(self, name: str, items: Sequence[Any]) -> list[Any]:
        """Ask about several items; the first failure is raised when all have ended.

        Raises:
            DureError: as `infer`.
        """
        found = await asyncio.gather(
            *(self.infer(name, item) for item in items), return_exceptions=True
        )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return found

    async def close(self) -> None:
        """Refuse whoever waits, end what runs, free every model. Idempotent."""
        self._closed = True
        for task in list(self._loading.values()):
            task.cancel()
        for known in list(self._loaded.values()):
            _fail(list(known.waiting), _stopping())
            known.waiting.clear()
        for known in list(self._loaded.values()):
            if known.worker is not None:  # a thread cannot be broken off: it has a moment to end
                await asyncio.wait((known.worker,), timeout=_LAST_SECONDS)
                known.worker.cancel()
            await self._unload(known)

    # Loading

    def _spec(self, name: str) -> ModelSpec:
        if self._closed:
            raise _stopping()
        if name not in self._specs:
            raise NotFoundError(f"there is no model {name} on this machine")
        return self._specs[name]

    async def _get(self, name: str) -> _Loaded:
        spec = self._spec(name)
        while (known := self._loaded.get(name)) is None:  # again if it was unloaded meanwhile
            task = self._loading.get(name)
            if task is None:
                task = self._loading[name] = asyncio.create_task(self._load(name, spec))
                task.add_done_callback(lambda _: self._loading.pop(name, None))
            await asyncio.shield(task)
        self._loaded.move_to_end(name)
        return known

    def _lock(self, device: str) -> asyncio.Lock:
        return self._locks.setdefault(device, asyncio.Lock())

    async def _load(self, name: str, spec: ModelSpec) -> _Loaded:
        async with self._lock(spec.device):
            await self._make_room(spec)
            try:
                model = await asyncio.to_thread(spec.load)
            except Exception as failed:
                if not _is_memory(failed):
                    raise ModelLoadError(
                        f"the model {name} cannot be loaded: {type(failed).__name__}"
                    ) from failed
                model = await self._load_alone(name, spec)
            known = self._loaded[name] = _Loaded(name, spec, model)
            return known

    async def _load_alone(self, name: str, spec: ModelSpec) -> Model:
        """Try once more with everything idle unloaded."""
        if await self._unload_idle(spec.device) == 0:
            raise _no_memory(name)
        try:
            return await asyncio.to_thread(spec.load)
        except Exception as failed:
            if _is_memory(failed):
                raise _no_memory(name) from None
            raise ModelLoadError(f"the model {name} cannot be loaded") from failed

    async def _make_room(self, spec: ModelSpec) -> None:
        """Unload what was used longest ago until the model fits its device's cap.

        Raises:
            OutOfMemoryError: it does not fit beside those that are asked now.
        """
        cap = self._caps.get(spec.device)
        while cap is not None and self._taken(spec.device) + spec.bytes > cap:
            idle = next(
                (
                    one
                    for one in self._loaded.values()
                    if one.spec.device == spec.device and one.idle
                ),
                None,
            )
            if idle is None:
                raise OutOfMemoryError(
                    f"{spec.device} has no room for {spec.bytes} bytes beside the models in use"
                )
            await self._unload(idle)

    def _taken(self, device: str) -> int:
        return sum(one.spec.bytes for one in self._loaded.values() if one.spec.device == device)

    async def _unload_idle(self, device: str, but: _Loaded | None = None) -> int:
        idle = [
            one
            for one in self._loaded.values()
            if one.spec.device == device and one.idle and one is not but
        ]
        for one in idle:
            await self._unload(one)
        return len(idle)

    async def _unload(self, known: _Loaded) -> None:
        self._loaded.pop(known.name, None)
        close = getattr(known.model, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):  # what cannot be closed is dropped
                await asyncio.to_thread(close)

    # Asking

    async def _work(self, known: _Loaded) -> None:
        """Ask batch after batch until nobody waits."""
        await asyncio.sleep(self._gather)
        while known.waiting:
            batch: list[tuple[Any, asyncio.Future[Any]]] = []
            while known.waiting and len(batch) < known.spec.max_batch:
                item, future = known.waiting.popleft()
                if not future.done():  # whoever asked has gone
                    batch.append((item, future))
            async with self._lock(known.spec.device):
                await self._ask(known, batch)

    async def _ask(self, known: _Loaded, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        """Ask about a batch; out of memory it is halved, until one item alone fails."""
        if not batch:
            return
        try:
            found = await asyncio.to_thread(known.model, [item for item, _ in batch])
            answers = list(found)
            if len(answers) != len(batch):
                raise ModelLoadError(
                    f"{known.name} gave {len(answers)} answers to {len(batch)} items"
                )
        except Exception as failed:  # noqa: BLE001 - told to each who waits
            if not _is_memory(failed):
                _fail(batch, failed)
            elif len(batch) > 1:
                await self._unload_idle(known.spec.device, known)
                half = len(batch) // 2
                await self._ask(known, batch[:half])
                await self._ask(known, batch[half:])
            else:
                _fail(batch, _no_memory(known.name))
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _stopping() -> ModelLoadError:
    return ModelLoadError("the service is stopping")


def _fail(batch: list[tuple[Any, asyncio.Future[Any]]], failed: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(failed)


def _is_memory(failed: BaseException) -> bool:
    """Whether memory ran out: Python's own, or a device's as PyTorch and ONNX say it."""
    name, text = type(failed).__name__, str(failed).lower()
    return isinstance(failed, MemoryError) or "OutOfMemory" in name or "out of memory" in text


def _no_memory(name: str) -> OutOfMemoryError:
    return OutOfMemoryError(f"there is no memory for {name}: try less at once")
