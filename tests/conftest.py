"""What every test starts from."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Hear Ctrl-C even where the run was started in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
