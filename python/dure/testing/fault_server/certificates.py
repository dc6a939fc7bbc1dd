"""Certificates of the fault server: a good one, and three that no client may accept."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from dure.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write"]


def write(folder: Path) -> Path:
    """Write `good`, `expired`, `other` and `selfsigned` into `folder`; return the authority's file.

    Raises:
        MissingExtraError: `trustme` is not installed.
    """
    try:
        import trustme
    except ImportError:
        raise MissingExtraError("the TLS faults need trustme: pip install trustme") from None

    authority = trustme.CA()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    leaves = {
        "good": authority.issue_cert("127.0.0.1", "localhost"),
        "expired": authority.issue_cert(
            "127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=1)
        ),
        "other": authority.issue_cert("other.example"),
    }
    for name, leaf in leaves.items():
        leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    alone = trustme.CA()  # an authority's own certificate is signed by itself
    own = alone.private_key_pem.bytes() + alone.cert_pem.bytes()
    (folder / "selfsigned.pem").write_bytes(own)
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    return ca
