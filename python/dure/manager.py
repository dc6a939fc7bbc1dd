"""The one client manager of a process: shared client, catalogue, policies, usage."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, ClassVar

from dure import _core, costs, models
from dure._check import optional_text, refuse, text
from dure.errors import InvalidArgumentError, InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dure.costs import Cost
    from dure.models import ModelConfig, ServiceModelPolicy

    AsyncClient = Any  # dure.aio's class: importing it here would start nothing, but cost time

    # Receives one flat event per tracked usage: `event`, `model`, tokens, costs, service.
    UsageSink = Callable[[dict[str, object]], None]

__all__ = ["OpenAIClientManager"]

_logger = logging.getLogger("dure")


def _log(event: dict[str, object]) -> None:
    _logger.info("usage_tracked", extra={"usage": event})


class OpenAIClientManager:
    """Owns the client that all services share. Constructing it again returns the same object.

    Thread-safe. A forked child gets the same manager with a client of its own.
    """

    _instance: ClassVar[OpenAIClientManager | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    _client: AsyncClient | None
    _sinks: list[UsageSink]

    def __new__(cls) -> OpenAIClientManager:
        """Return the manager of this process."""
        with OpenAIClientManager._lock:
            if OpenAIClientManager._instance is None:
                manager = super().__new__(cls)
                manager._client = None
                manager._sinks = [_log]
                OpenAIClientManager._instance = manager
            return OpenAIClientManager._instance

    def get_client(self) -> AsyncClient:
        """Return the shared asynchronous client, made on first use from the environment."""
        from importlib import import_module

        with OpenAIClientManager._lock:
            if self._client is None:
                self._client = import_module("dure.aio").AsyncClient()
            return self._client

    def set_client(self, client: AsyncClient | None) -> None:
        """Share this client from now on; None: one made from the environment on its first use.

        For an app that opens its client itself, and closes it itself.
        """
        with OpenAIClientManager._lock:
            self._client = client

    def get_model_config(self, model_id: str) -> ModelConfig:
        """Return the model that `model_id` means, in any spelling.

        Raises:
            InvalidModelError: There is no such model.
        """
        return models.MODEL_CATALOG[_core.catalog.canonical(text(model_id, "model_id"))]

    def get_service_policy(self, service_name: str) -> ServiceModelPolicy:
        """Return the policy of a service.

        Raises:
            NotFoundError: It has none.
        """
        return models.to_policy(_core.policy.find(text(service_name, "service_name")))

    def validate_model_for_service(self, model_id: str, service_name: str) -> ModelConfig:
        """Return the model if the service may use it: known, tier allowed, capabilities there.

        Raises:
            InvalidModelError: "Model X not allowed for service Y".
        """
        text(service_name, "service_name")
        if not text(model_id, "model_id"):
            raise InvalidModelError(
                f"Model {model_id} not allowed for service {service_name}",
                model=model_id,
                service=service_name,
            )
        return models.MODEL_CATALOG[_core.policy.validate(model_id, service_name)]

    def track_usage(
        self, model_id: str, input_tokens: int, output_tokens: int, *, service: str | None = None
    ) -> Cost:
        """Write usage that happened elsewhere into the ledger, and tell every sink.

        It counts in the budgets of the model and the service, and is never refused.

        Returns:
            The exact cost.

        Raises:
            InvalidModelError: There is no such model.
            InvalidArgumentError: Negative counts.
            StorageError: The ledger cannot be written.
        """
        model = _core.catalog.canonical(text(model_id, "model_id"))
        optional_text(service, "service")
        for name, value in (("input_tokens", input_tokens), ("output_tokens", output_tokens)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidArgumentError(f"{name} must be an int >= 0", argument=name)
        scopes = [f"model:{model}"] + ([f"service:{service}"] if service else [])
        found = _core.money.Account.shared(costs.data_folder()).record(
            costs.shipped().native,
            scopes,
            model=model,
            service=service or "",
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            at_us=_core.money.wall_us(),
        )
        cost = costs.Cost.of(found)
        self._tell(
            {
                "event": "usage_tracked",
                "model": model,
                "service": service,
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "cost_pico": cost.pico,
                "cost_usd": f"{cost.usd:f}",
                "price_version": cost.price_version,
            }
        )
        return cost

    def add_sink(self, sink: UsageSink) -> None:
        """Send every tracked usage to `sink` too: a flat dict with `event`, as structlog has it.

        `lambda event: structlog.get_logger().info(**event)` makes a structlog record of it.
        """
        if not callable(sink):
            refuse(sink, "sink", "a callable that takes a dict")
        self._sinks.append(sink)

    def remove_sink(self, sink: UsageSink) -> None:
        """Stop sending to `sink`.

        Raises:
            InvalidArgumentError: it was never added.
        """
        if sink not in self._sinks:
            raise InvalidArgumentError("this sink was never added", argument="sink")
        self._sinks.remove(sink)

    def _tell(self, event: dict[str, object]) -> None:
        for sink in tuple(self._sinks):
            try:
                sink(dict(event))
            except Exception:  # the usage is in the ledger: a sink cannot undo it
                _logger.exception("a usage sink failed")


def _after_fork_in_child() -> None:
    OpenAIClientManager._lock = threading.Lock()
    if OpenAIClientManager._instance is not None:
        OpenAIClientManager._instance._client = None


os.register_at_fork(after_in_child=_after_fork_in_child)
