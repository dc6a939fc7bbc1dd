"""The service's settings: from `dure serve`, from `DURE_*`, with every fault named at once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dure.errors import InvalidArgumentError

__all__ = ["Settings", "is_loopback"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service runs. Immutable; its repr shows no secret.

    Attributes:
        dev: Development preset: Swagger UI and ReDoc without a key. Loopback only.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        data: Data folder: ledger and stores.
        api_keys: Secrets of callers, sent as `Authorization: Bearer`. Empty: login is skipped,
            which is allowed on the loopback interface only.
        chat_model: Model of `/chat` where the request names none. `gpt-4-turbo` is what the
            example of the HTTP interface names; `gpt-4o-mini` answers for 1/50 of its price.
        embed_model: Model of `/embed`.
        max_body_bytes: A larger request body gets 413.
    """

    dev: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    data: Path | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    chat_model: str = "gpt-4-turbo"
    embed_model: str = "text-embedding-ada-002"
    max_body_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        faults = []
        if not 0 <= self.port <= 65535:
            faults.append(f"port {self.port} is not from 0 to 65535")
        if any(len(key) < 16 for key in self.api_keys):
            faults.append("DURE_API_KEYS holds a key of less than 16 characters")
        if not all("!" <= sign <= "~" for key in self.api_keys for sign in key):
            faults.append(
                "DURE_API_KEYS holds a key with a space or a character beyond visible ASCII: no "
                "header can carry it"
            )
        for name in ("host", "chat_model", "embed_model"):
            value = getattr(self, name)
            if not value.isascii() or not value.isprintable():
                faults.append(f"{name} {value!a} holds what no such name can")
        if not is_loopback(self.host):
            if self.dev:
                faults.append(f"--dev is for the loopback interface only, not for {self.host}")
            if not self.api_keys:
                faults.append(
                    f"{self.host} is not the loopback interface: set DURE_API_KEYS, or bind to "
                    "127.0.0.1"
                )
        if faults:
            raise InvalidArgumentError("; ".join(faults), argument="settings")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **given: object
    ) -> Settings:
        """Read `DURE_DEV HOST PORT DATA API_KEYS CHAT_MODEL EMBED_MODEL`; `given` wins.

        Raises:
            InvalidArgumentError: naming everything that is wrong.
        """
        known = os.environ if environment is None else environment
        values: dict[str, object] = {}
        for name in ("host", "chat_model", "embed_model"):
            if text := known.get(f"DURE_{name.upper()}"):
                values[name] = text
        if text := known.get("DURE_DATA"):
            values["data"] = Path(text)
        if text := known.get("DURE_API_KEYS"):
            values["api_keys"] = tuple(filter(None, (key.strip() for key in text.split(","))))
        if text := known.get("DURE_PORT"):
            if not text.isdigit():
                raise InvalidArgumentError(f"DURE_PORT is {text!r}", argument="settings")
            values["port"] = int(text)
        values["dev"] = known.get("DURE_DEV", "").lower() in {"1", "true", "yes"}
        return cls(**{**values, **given})  # type: ignore[arg-type]

    def to_environment(self) -> dict[str, str]:
        """Return what `from_environment` reads back in a worker; keys stay where they are."""
        found = {
            "DURE_DEV": "1" if self.dev else "0",
            "DURE_HOST": self.host,
            "DURE_PORT": str(self.port),
            "DURE_CHAT_MODEL": self.chat_model,
            "DURE_EMBED_MODEL": self.embed_model,
        }
        return found | ({"DURE_DATA": str(self.data)} if self.data else {})


def is_loopback(host: str) -> bool:
    """Say whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
