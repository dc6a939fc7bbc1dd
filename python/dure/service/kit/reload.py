"""What SIGHUP reads anew: rates, policies, prices. What cannot be used leaves the last good one."""

from __future__ import annotations

import logging

from dure.errors import DureError
from dure.service.kit.clients import Clients
from dure.service.settings import Settings

__all__ = ["Reloaded"]

_logger = logging.getLogger("dure.service")


class Reloaded:
    """The settings that may change while the service runs.

    Attributes:
        rate_address: Requests of one address; None: any.
        rate_caller: Requests of one caller; None: any.
        rate_chat: Requests of one caller to the short chat form; None: any.
    """

    def __init__(self, settings: Settings) -> None:
        self._take(settings)

    async def again(self, clients: Clients) -> bool:
        """Read them anew from where they came from, all or none; return whether they count."""
        try:
            settings = Settings()
            await clients.renew(settings)
        except (DureError, OSError) as wrong:
            _logger.error("reload refused, the last settings stay", extra={"reason": str(wrong)})
            return False
        self._take(settings)
        _logger.info("reloaded")
        return True

    def _take(self, settings: Settings) -> None:
        self.rate_address = settings.rate_address
        self.rate_caller = settings.rate_caller
        self.rate_chat = settings.rate_chat
