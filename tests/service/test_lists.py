"""What every list answers to a page that cannot be: too many rows, a cursor of somewhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dure.service.kit.paging import cursor_of

if TYPE_CHECKING:
    from tests.service.inside import Inside

BY_NAME = ("/api/prompt-templates", "/api/prompt-datasets", "/api/notifications/channels",
           "/api/notifications/rules", "/api/admin/usage/alerts/rules", "/api/admin/usage/pools",
           "/api/admin/provider-keys")  # fmt: skip
BY_TIME = ("/api/notifications/deliveries", "/api/admin/usage/reports",
           "/api/admin/usage/anomalies", "/api/admin/content-logs")  # fmt: skip


async def test_a_list_gives_no_more_than_a_page_and_takes_its_own_cursors(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for path in BY_NAME + BY_TIME:
        own = cursor_of("a") if path in BY_NAME else cursor_of(2**61, "z")
        other = cursor_of(1) if path in BY_NAME else cursor_of("z", 1)
        for query, status in (
            (f"limit={10**9}", 422),
            ("limit=0", 422),
            ("cursor=%00", 400),
            (f"cursor={other}", 400),
            (f"cursor={own}", 200),
        ):
            answer = await app.call("GET", f"{path}?{query}", key=admin)
            assert answer.status_code == status, (path, query, answer.text)
