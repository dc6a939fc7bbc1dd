"""R6 where Python meets the core: its k-th allocation fails, for every k, once and for good.

A library in front of malloc refuses what C++ asks for; Python's own allocations and libcurl's are
spared. Each call ends in its result or in a typed error, and the client works afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HOOK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

extern void* __libc_malloc(size_t);
static atomic_long left = -1;
static atomic_int for_good, refused;

void dure_arm(long k, int sticky) { for_good = sticky; refused = 0; left = k; }
int dure_disarm(void) { left = -1; return refused; }

static int of_cxx(const void* caller) {
  Dl_info found;
  if (dladdr(caller, &found) == 0 || found.dli_fname == NULL) return 0;
  return strstr(found.dli_fname, "libstdc++") != NULL || strstr(found.dli_fname, "_core.") != NULL;
}

void* malloc(size_t size) {
  const void* const caller = __builtin_return_address(0);
  long now = left;
  if (now < 0 || !of_cxx(caller)) return __libc_malloc(size);
  while (now >= 0) {
    if (now == 0 && for_good) break;
    if (atomic_compare_exchange_weak(&left, &now, now - 1)) break;
  }
  if (now != 0) return __libc_malloc(size);
  refused = 1;
  errno = ENOMEM;
  return NULL;
}
"""

CALLS = """
import asyncio, ctypes, sys
from dure.aio import HttpClient
from dure.errors import DureError

hook = ctypes.CDLL(None)
url, engine, what, path = sys.argv[1:]

async def plain(client, limit=0.4):
    reply = await client.request("POST", url + "/echo", body=b"whole", timeout=limit,
                                 headers={"X-Long": "v" * 100, "Authorization": "Bearer k"})
    assert (reply.status, reply.content) == (200, b"whole")
    assert len(reply.headers) == 1

async def objects(client):
    reply = await client.request("POST", url + "/echo", json={"a": ["b" * 100, 1.5]}, timeout=0.4)
    assert reply.json() == {"a": ["b" * 100, 1.5]}

async def stream(client):
    async with client.stream("GET", url + "/sse", events=True, timeout=0.4) as events:
        assert [event.data async for event in events] == list("01234")

async def upload(client):
    reply = await client.upload(url + "/echo", {"file": path}, timeout=0.4)
    assert reply.status == 200 and len(reply.content) > 50_000

async def main():
    call = globals()[what]
    ended = {}
    for sticky in (0, 1):
        past = k = 0
        while past < 3:
            async with HttpClient(transport=engine) as client:
                hook.dure_arm(k, sticky)
                try:
                    await asyncio.wait_for(call(client), 30)
                    how = "done"
                except DureError as error:
                    how = type(error).__name__
                finally:
                    refused = hook.dure_disarm()
                await plain(client, 30)
            if refused:
                ended[how] = ended.get(how, 0) + 1
            past = 0 if refused else past + 1
            k += 1
            assert k < 5000
    print(sum(ended.values()), ended)

asyncio.run(main())
"""


@pytest.fixture(scope="session")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or "DURE_ASAN" in os.environ:
        pytest.skip("nothing can be put in front of malloc here")
    source = tmp_path_factory.mktemp("hook") / "hook.c"
    source.write_text(HOOK)
    made = source.with_suffix(".so")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", source, "-o", made], check=True)
    return made


@pytest.mark.parametrize("engine", ["a", "b"])
@pytest.mark.parametrize("what", ["plain", "objects", "stream", "upload"])
def test_every_allocation_of_a_call_may_fail(
    engine: str, what: str, stub_url: str, hook: Path, tmp_path: Path
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(250)) * 200)
    ended = subprocess.run(
        [sys.executable, "-c", CALLS, stub_url, engine, what, path],
        env={**os.environ, "LD_PRELOAD": str(hook)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    count = int(ended.stdout.split()[0])
    assert count > 20, "it was short of memory: " + ended.stdout
    assert "OutOfMemoryError" in ended.stdout
