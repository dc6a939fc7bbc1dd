"""How a message leaves: mail, signed webhooks, Discord, Apprise. None of it names a secret."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import smtplib
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

from dure.aio import HttpClient
from dure.errors import (
    DureError,
    InvalidArgumentError,
    MissingExtraError,
    RateLimitError,
    UnavailableError,
    UpstreamError,
)
from dure.service.settings import Settings, is_loopback

__all__ = ["Message", "Senders", "check_target", "shown_target"]

_SECONDS = 15.0
_MOST_DISCORD = 2000
_FIXED_HOSTS = frozenset(
    (
        "slack",
        "discord",
        "tgram",
        "msteams",
        "workflows",
        "pagerduty",
        "opsgenie",
        "gchat",
        "pover",
        "sendgrid",
        "twilio",
        "line",
        "pushbullet",
    )
)  # fmt: skip - their servers are the service's own: no address is chosen by who makes a channel


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: `id` is the same however often it is tried."""

    id: str
    event: str
    at: datetime
    title: str
    text: str
    data: dict[str, Any]
    html: str | None = None


class Senders:
    """Sends messages. Task-safe; addresses that others chose lead to public hosts only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = HttpClient(timeout=_SECONDS, allowed=settings.egress_allowed)

    async def __aenter__(self) -> Senders:
        """Open the client."""
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Close it."""
        await self._http.__aexit__(*raised)  # type: ignore[arg-type]

    async def send(self, target: dict[str, Any], message: Message) -> None:
        """Send a message; it returns when the other side has it.

        Raises:
            InvalidArgumentError: the address cannot be used; trying again is no use.
            DureError: it did not arrive; the text names no secret.
        """
        kind = target["kind"]
        if kind == "email":
            await asyncio.to_thread(self._mail, target, message)
        elif kind == "webhook":
            await self._post(target["url"], *_signed(target["secret"], message))
        elif kind == "discord":
            body = {"content": _short(message), "allowed_mentions": {"parse": []}}
            plain = {"content-type": "application/json"}
            await self._post(target["url"], json.dumps(body).encode(), plain)
        else:
            await asyncio.to_thread(_apprise, target["url"], message)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        try:
            reply = await self._http.request("POST", url, headers=headers, body=body)
        except InvalidArgumentError:
            raise InvalidArgumentError("the address leads to no public host") from None
        except DureError as failed:
            raise UnavailableError(f"the receiver was not reached ({failed.code})") from None
        if reply.status == 429:
            raise RateLimitError("the receiver asks for a pause", retry_after=_pause(reply.headers))
        if not 200 <= reply.status < 300:
            raise UpstreamError(f"the receiver answered {reply.status}", status_code=reply.status)

    def _mail(self, target: dict[str, Any], message: Message) -> None:
        given = self._settings.smtp_url
        if given is None:
            raise InvalidArgumentError("no mail server is set: DURE_SMTP_URL")
        place = urlsplit(given.get_secret_value())
        mail = _mail_of(self._settings.smtp_from, target["to"], message)
        try:
            with _connected(place.scheme, place.hostname or "", place.port) as server:
                if place.username:
                    server.login(unquote(place.username), unquote(place.password or ""))
                refused = server.send_message(mail)
        except (OSError, smtplib.SMTPException) as failed:
            what = type(failed).__name__  # its text may hold the login
            raise UnavailableError(f"the mail server took nothing ({what})") from None
        if refused:
            raise UnavailableError(f"the mail server refused {len(refused)} of the receivers")


def _connected(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    """Connect with TLS; without it to this machine only."""
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port or 465, timeout=_SECONDS, context=context)
    server = smtplib.SMTP(host, port or 587, timeout=_SECONDS)
    if not is_loopback(host):
        server.starttls(context=context)
    return server


def _mail_of(sender: str, to: list[str], message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, ", ".join(to)
    mail["Subject"] = " ".join(message.title.split())
    mail["Message-ID"] = f"<{message.id}@dure>"
    mail["Date"] = message.at
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    if message.html is not None:
        mail.add_alternative(message.html, subtype="html")
    return mail


def _signed(secret: str, message: Message) -> tuple[bytes, dict[str, str]]:
    """Return body and headers as Standard Webhooks has them."""
    body = json.dumps(
        {
            "type": message.event,
            "timestamp": message.at.isoformat(),
            "data": {"title": message.title, "text": message.text, **message.data},
        },
        ensure_ascii=False,
    ).encode()
    stamp = str(int(message.at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{message.id}.{stamp}.".encode() + body, "sha256")
    return body, {
        "content-type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def _short(message: Message) -> str:
    text = f"**{message.title}**\n{message.text}"
    return text if len(text) <= _MOST_DISCORD else f"{text[: _MOST_DISCORD - 1]}…"


def _pause(headers: Any) -> float | None:  # noqa: ANN401 - the reply's own
    found = {str(name).lower(): str(value) for name, value in dict(headers).items()}
    try:
        return min(max(float(found["retry-after"]), 1.0), 3600.0)
    except (KeyError, ValueError):
        return None


def _apprise(url: str, message: Message) -> None:
    try:
        import apprise
    except ModuleNotFoundError:
        raise MissingExtraError.of("notify", "apprise") from None
    teller = apprise.Apprise()
    if not teller.add(url):
        raise InvalidArgumentError("Apprise does not know this address")
    if not teller.notify(title=message.title, body=message.text):
        raise UnavailableError("the receiver took nothing")


def check_target(target: dict[str, Any]) -> None:
    """Refuse an address that cannot be; nothing is asked for there.

    Raises:
        InvalidArgumentError: saying why, without the address.
        MissingExtraError: Apprise is not installed.
    """
    kind = target["kind"]
    if kind == "email":
        return
    parts = _split(target["url"])
    if kind == "apprise":
        _check_apprise(parts.scheme)
        return
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise _bad_url("must begin with https://")
    if parts.username or parts.password:
        raise _bad_url("holds a login: a webhook is signed instead")
    if kind == "discord" and not parts.path.startswith("/api/webhooks/"):
        raise _bad_url("is no webhook of Discord's: /api/webhooks/...")
    if kind == "webhook":
        try:
            key = base64.b64decode(target["secret"].removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if len(key) < 16:
            raise InvalidArgumentError(
                "secret is base64 of 16 bytes or more, with or without whsec_ before it",
                argument="target.secret",
                http_status=422,
            )


def _check_apprise(scheme: str) -> None:
    if scheme not in _FIXED_HOSTS:
        raise _bad_url(
            f"has a kind that is not taken; these are: {', '.join(sorted(_FIXED_HOSTS))}"
        )
    try:
        import apprise  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError.of("notify", "apprise") from None


def _split(url: str) -> Any:  # noqa: ANN401 - urllib's
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _bad_url("is no address") from None
    if not parts.hostname:
        raise _bad_url("names no host")
    return parts


def _bad_url(what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"url {what}", argument="target.url", http_status=422)


def shown_target(target: dict[str, Any]) -> str:
    """Return where a channel leads, without what is secret of it."""
    if target["kind"] == "email":
        return ", ".join(target["to"])
    parts = urlsplit(target["url"])
    if target["kind"] == "apprise":
        return f"{parts.scheme}://..."
    return f"{parts.scheme}://{parts.hostname}/..."
