"""What the papers say is there: names, routes, tables, files; the collection runs."""

from __future__ import annotations

import importlib
import json
import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dure.db import tables
from dure.service import api
from dure.service.app import create_app
from dure.service.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.service.inside import Inside

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/where-things-went.md"
COLLECTION = ROOT / "docs/service/dure.postman_collection.json"
NOT_YET = "*not yet*"


def rows() -> list[tuple[str, str, str]]:
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        is_rule = bool(cells[0]) and set(cells[0]) <= {"-"}
        if line.startswith("|") and len(cells) == 3 and cells[0] != "named" and not is_rule:
            found.append((cells[0], cells[1], cells[2]))
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(data=tmp_path_factory.mktemp("data"), access_log="off"))


def routes(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method, getattr(route, "path", ""))
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
    }


def is_there(target: str, kind: str, app: FastAPI) -> bool:
    if " /" in target:
        method, _, path = target.partition(" ")
        return (method, api.canonical(path)) in routes(app)
    if kind == "table":
        return target in tables.UserModel.metadata.tables
    if target == "dure.service.app:app" or re.fullmatch(r"dure[\w.]*(:[\w.]+)?", target):
        module, _, name = target.partition(":")
        found: Any = importlib.import_module(module)
        for part in filter(None, name.split(".")):
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return (ROOT / target).exists()


def test_where_things_went_is_where_they_are(built: FastAPI) -> None:
    found = rows()
    assert len(found) > 120
    missing = []
    for named, kind, cell in found:
        if cell == NOT_YET:
            continue
        (target,) = re.findall(r"^`([^`]+)`$", cell)
        if not is_there(target, kind, built):
            missing.append((named, target))
    assert missing == []


@pytest.mark.parametrize(
    "named",
    [
        "ModelInfo", "ModelListResponse", "ServiceModelPolicyResponse", "OpenAIClientManager",
        "ServiceFactory", "usage_statistics", "user_token_limits", "token_usage_alerts",
        "bend/Dockerfile", "strategy_builder.py", "ai_server/routes/chat.py", "split_documents",
    ],
)  # fmt: skip
def test_every_kind_of_source_is_answered(named: str) -> None:
    assert named in PAGE.read_text("utf-8")


def requests_of(collection: dict[str, Any]) -> list[dict[str, Any]]:
    return [one["request"] for folder in collection["item"] for one in folder["item"]]


def path_of(request: dict[str, Any]) -> str:
    return "/" + "/".join(re.sub(r"^:(\w+)$", r"{\1}", part) for part in request["url"]["path"])


def test_the_collection_is_made_from_the_schema(built: FastAPI) -> None:
    made = runpy.run_path(str(ROOT / "scripts/postman"))["collection"](built.openapi())
    asked = {(one["method"], path_of(one)) for one in requests_of(made)}
    schema = {
        (method.upper(), path)
        for path, operations in built.openapi()["paths"].items()
        for method, operation in operations.items()
        if operation["tags"] != ["alias"]
    }
    assert asked == schema
    kept = json.loads(COLLECTION.read_text("utf-8"))
    assert {(one["method"], path_of(one)) for one in requests_of(kept)} <= schema
    assert kept["info"]["schema"].endswith("v2.1.0/collection.json")


async def test_every_request_of_the_collection_is_answered(app: Inside) -> None:
    """As Postman would run it, one request after the other."""
    root = (await app.first())["access_token"]
    made = runpy.run_path(str(ROOT / "scripts/postman"))["collection"](app.app.openapi())
    me = (await app.call("GET", "/api/auth/me", key=root)).json()
    known = {"user_id": me["user_id"], "org_id": me["org_id"], "model_id": "gpt-4o-mini"}
    known |= {"service_name": "StrategyBuilder"}
    good = 0
    for request in requests_of(made):
        path = path_of(request)
        if path.endswith(("/logout", "/backchannel-logout")) or "first-start" in path:
            continue  # each ends or begins what the rest needs
        asked = re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], "none"), path)
        raw = request.get("body", {}).get("raw")
        headers = {"content-type": "application/json"}
        if request.get("auth", {}).get("type") != "noauth":
            headers["authorization"] = f"Bearer {root}"
        answer = await app.client.request(request["method"], asked, content=raw, headers=headers)
        assert answer.status_code < 500, (request["method"], path, answer.text)
        placeholder = path.endswith("/provider-keys")  # its example is no key
        assert answer.status_code != 422 or placeholder or "{" in path, (path, answer.text)
        good += answer.status_code < 300
    assert good >= 25
