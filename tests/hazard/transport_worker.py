"""What the worker processes of test_transport_process run; importable by spawn."""

import asyncio

from dure.aio import HttpClient

CLIENT = HttpClient()


def echo(url: str) -> bytes:
    """Ask the stub with the client that was made at import."""
    reply = asyncio.run(CLIENT.request("POST", f"{url}/echo", body=b"worker"))
    return reply.content
