"""Mail: the headers a reader sees, then the text; attachments are named, never opened."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import TYPE_CHECKING

from dure.files._decode import decode
from dure.files._html import html_text
from dure.files._limits import Limits, refuse
from dure.files._render import Parsed, check_length, heading, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = ("From", "To", "Cc", "Date")
_NEEDED = ("From", "Subject", "Date", "Received", "Message-ID", "MIME-Version", "Return-Path")
_KOREAN = {"euc-kr", "euc_kr", "ks_c_5601-1987", "ksc5601", "ks_c_5601", "korean", "windows-949"}


def parse_eml(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return subject, sender, receivers and date, then the body, plain text before HTML."""
    try:
        message = BytesParser(EmailMessage, policy=policy.default).parsebytes(raw)
        if not any(name in message for name in _NEEDED):
            raise refuse(path, "damaged message: it has no header of a mail")
        texts, attached = _contents(path, message, limits)
        known = {name: _header(message, name) for name in ("Subject", *_SHOWN)}
    except RecursionError as deep:
        raise refuse(path, "damaged message: nested too deep") from deep
    blocks = [heading(1, known["Subject"])] if known["Subject"] else []
    blocks.append("\n".join(f"{name}: {known[name]}" for name in _SHOWN if known[name]))
    blocks += texts
    if attached:
        blocks.append("Attachments: " + ", ".join(attached))
    text = "\n\n".join(block for block in blocks if block)
    check_length(path, len(text), limits)
    facts = {"title": known["Subject"], "from": known["From"], "date": known["Date"]}
    return {
        "text": text,
        "pages": [],
        "metadata": {name: value for name, value in facts.items() if value},
    }


def _header(message: EmailMessage, name: str) -> str:
    """Return a header on one line; one that cannot be parsed as it stands."""
    try:
        return one_line(str(message.get(name, "")))
    except (ValueError, LookupError, AttributeError, IndexError, TypeError):
        raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
        return one_line(str(raw))


def _contents(path: str, message: EmailMessage, limits: Limits) -> tuple[list[str], list[str]]:
    """Return the texts of the body and the names of what is attached."""
    texts: list[str] = []
    attached: list[str] = []
    for count, part in enumerate(_leaves(message), 1):
        if count > limits.entries:
            raise refuse(path, f"more than {limits.entries} parts")
        kind = part.get_content_type()
        name = part.get_filename()
        is_body = part.get_content_disposition() != "attachment" and name is None
        if is_body and kind in {"text/plain", "text/html"}:
            text = _text(path, part)
            texts.append(_plain(text) if kind == "text/html" else text.strip())
        else:
            attached.append(one_line(name or kind))
    return [text for text in texts if text], attached


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    """Yield the parts that hold something; of alternatives the plain one."""
    if part.get_content_type() == "message/rfc822" or not part.is_multipart():
        yield part
        return
    inside = [one for one in part.iter_parts() if isinstance(one, EmailMessage)]
    if part.get_content_type() == "multipart/alternative":
        plain = [one for one in inside if one.get_content_type() == "text/plain"]
        html = [one for one in inside if one.get_content_type() != "text/plain"]
        has_text = any(one.get_payload(decode=True) for one in plain)  # some are left empty
        inside = plain[:1] if has_text else html[-1:] or inside
    for one in inside:
        yield from _leaves(one)


def _plain(html: str) -> str:
    return html_text(html)[0]


def _text(path: str, part: EmailMessage) -> str:
    """Return a part's text: in the charset it names, else found as that of a file."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload:
        return ""
    charset = (part.get_content_charset() or "").lower()
    if charset in _KOREAN:
        charset = "cp949"  # a superset of all of these
    try:
        text = payload.decode(charset) if charset else decode(path, payload)[0]
    except (UnicodeDecodeError, LookupError, ValueError):
        text = decode(path, payload)[0]
    return text.replace("\r\n", "\n")
