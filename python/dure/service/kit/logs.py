"""Structured logs: one JSON object a line on stderr, and no secret in any of them."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable

import structlog

from dure.service.kit.discord_log import DiscordHandler
from dure.service.settings import Settings

__all__ = ["Redactor", "configure"]

_HIDDEN = "[hidden]"
_SHORTEST = 8  # shorter values would hide half of the language
_PATTERNS = re.compile(
    r"dure_[0-9A-Za-z]{57}|rt_ses_[0-9a-f]{24}\.[0-9.]+[0-9a-f]{64}|sk-[0-9A-Za-z_-]{16,}"
    r"|eyJ[0-9A-Za-z_-]{4,}\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+"
    r"|(?<=://)[^\s/@:]{1,128}:[^\s/@]{1,256}(?=@)"
)
_PROVIDERS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY")


class Redactor:
    """Takes secrets out of text: known ones by value, others by their form. Thread-safe."""

    def __init__(self, values: Iterable[str]) -> None:
        known = sorted({value for value in values if len(value) >= _SHORTEST}, key=len)
        self._known = known[::-1]  # the longest first: one may hold another

    @classmethod
    def of(cls, settings: Settings) -> Redactor:
        """Return one that knows every secret of the settings and of the environment."""
        values = list(settings.api_keys)
        for name in _PROVIDERS:
            values += [key.strip() for key in os.environ.get(name, "").split(",")]
        secret = (settings.secret_key, settings.smtp_url, settings.discord_log_url)
        values += [one.get_secret_value() for one in secret if one is not None]
        if settings.encryption_keys is not None:
            ring = settings.encryption_keys.get_secret_value().split(",")
            values += [part.partition(":")[2].strip() for part in ring]
        values += [one.secret.get_secret_value() for one in settings.issuers if one.secret]
        return cls(values)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for value in self._known:
            text = text.replace(value, _HIDDEN)
        return _PATTERNS.sub(_HIDDEN, text)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper("iso", utc=True),
            ],
        )
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def configure(settings: Settings) -> None:
    """Send the logs of dure and of the server to stderr; for the process that serves."""
    redact = Redactor.of(settings)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.discord_log_url is not None:
        handlers.append(DiscordHandler(settings.discord_log_url.get_secret_value(), redact=redact))
    for handler in handlers:
        handler.setFormatter(_Formatter(redact))
    level = logging.INFO if settings.dev else logging.WARNING
    for name in ("dure", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], False
        logger.setLevel(level)
        for handler in handlers:
            logger.addHandler(handler)
    logging.getLogger("dure.audit").setLevel(logging.INFO)  # heads of chains are always told
    logging.getLogger("uvicorn.error").handlers = []
    logging.getLogger("uvicorn.error").propagate = True  # to `uvicorn`, once
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
