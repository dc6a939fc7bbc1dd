"""Files: whole or in pieces, what they say they are, each its owner's, in a folder or in S3."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from dure.errors import InvalidArgumentError, NotFoundError, StorageError
from dure.service.files.store import FileStore, LocalFiles, S3Files
from dure.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.inside import Inside

FILES = "/api/files"
NOTES = "# 두레\n\nMany hands, one account.\n".encode()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def docx(name: str = "word/document.xml", content: bytes = b"<w/>") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(name, content)
    return file.getvalue()


async def upload(
    app: Inside, token: str, name: str, content: bytes, kind: str = "application/octet-stream"
) -> Any:
    headers = {"authorization": f"Bearer {token}"}
    return await app.client.post(FILES, files={"file": (name, content, kind)}, headers=headers)


async def send(app: Inside, token: str, file_id: str, offset: int, part: bytes) -> Any:
    headers = {
        "authorization": f"Bearer {token}",
        "upload-offset": str(offset),
        "content-type": "application/octet-stream",
    }
    return await app.client.patch(f"{FILES}/{file_id}/content", content=part, headers=headers)


async def people(app: Inside) -> tuple[str, str, str]:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    _, lee = await app.add(admin, "lee@example.com", "user")
    return admin, kim, lee


async def test_a_file_is_its_owners_until_it_is_gone(app: Inside) -> None:
    admin, kim, lee = await people(app)
    made = await upload(app, kim, "notes.md", NOTES, "text/markdown")
    assert made.status_code == 201, made.text
    file = made.json()
    assert (file["state"], file["size"], file["received"]) == ("ready", len(NOTES), len(NOTES))
    assert file["sha256"] == hashlib.sha256(NOTES).hexdigest()
    at = f"{FILES}/{file['id']}"
    for end, method in (("", "GET"), ("/content", "GET"), ("", "DELETE")):
        assert (await app.call(method, at + end, key=lee)).status_code == 404
    assert (await send(app, lee, file["id"], 0, b"x")).status_code == 404
    assert (await app.call("GET", FILES, key=lee)).json()["files"] == []
    got = await app.call("GET", f"{at}/content", key=kim)
    assert got.content == NOTES
    assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''notes.md"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"].startswith("sandbox")
    assert (await app.call("GET", at, key=admin)).json()["id"] == file["id"]
    stored = app.data / "files" / "default" / file["id"]
    assert stored.read_bytes() == NOTES
    assert (await app.call("DELETE", at, key=kim)).status_code == 204
    assert not stored.exists()
    assert (await app.call("GET", at, key=kim)).status_code == 404


async def test_a_broken_upload_goes_on_where_it_stopped(app: Inside) -> None:
    _, kim, _ = await people(app)
    digest = hashlib.sha256(NOTES).hexdigest()
    asked = {"name": "notes.md", "size": len(NOTES), "sha256": digest}
    begun = (await app.call("POST", FILES, asked, kim)).json()
    assert (begun["state"], begun["received"]) == ("receiving", 0)
    first = await send(app, kim, begun["id"], 0, NOTES[:10])
    assert (first.status_code, first.json()["received"]) == (200, 10)
    again = await send(app, kim, begun["id"], 0, NOTES[:10])
    assert (again.status_code, again.json()["error"]["code"]) == (409, "wrong_offset")
    assert (await app.call("GET", f"{FILES}/{begun['id']}/content", key=kim)).status_code == 409
    progress = (await app.call("GET", f"{FILES}/{begun['id']}", key=kim)).json()
    assert (progress["received"], progress["size"]) == (10, len(NOTES))
    more = await send(app, kim, begun["id"], 10, NOTES[10:] + b"too much")
    assert more.status_code == 413
    last = await send(app, kim, begun["id"], 10, NOTES[10:])
    if last.status_code == 409:  # what fitted before the refusal may have been kept
        at = (await app.call("GET", f"{FILES}/{begun['id']}", key=kim)).json()["received"]
        last = await send(app, kim, begun["id"], at, NOTES[at:])
    assert (last.status_code, last.json()["state"]) == (200, "ready"), last.text
    assert (await app.call("GET", f"{FILES}/{begun['id']}/content", key=kim)).content == NOTES
    ended = await send(app, kim, begun["id"], 0, b"x")
    assert ended.json()["error"]["code"] == "already_received"
    assert list((app.data / "files" / "coming").iterdir()) == []


async def test_bytes_that_are_not_what_was_announced_fail_that_file_alone(app: Inside) -> None:
    _, kim, _ = await people(app)
    good = (await upload(app, kim, "a.txt", b"fine")).json()
    for asked, content, reason in (
        ({"name": "a.pdf", "size": 4}, b"text", "holds"),
        ({"name": "a.md", "size": 4, "sha256": "0" * 64}, b"text", "SHA-256"),
        ({"name": "a.png", "size": 4}, b"text", "is not what"),
    ):
        begun = (await app.call("POST", FILES, asked, kim)).json()
        ended = (await send(app, kim, begun["id"], 0, content)).json()
        assert ended["state"] == "failed", ended
        assert reason in ended["reason"]
    assert (await app.call("GET", f"{FILES}/{good['id']}/content", key=kim)).content == b"fine"


CASES = [
    ("a.pdf", b"%PDF-1.7 x", "application/pdf", 201),
    ("a.png", PNG, "image/png", 201),
    ("a.docx", docx(), "application/octet-stream", 201),
    ("a.py", b"print(1)\n", "text/x-python", 201),
    ("a.pdf", b"%PDF-1.7 x", "image/png", 415),
    ("a.txt", b"%PDF-1.7 x", "text/plain", 415),
    ("a.png", b"%PDF-1.7 x", "image/png", 415),
    ("a.txt", b"a\0b", "text/plain", 415),
    ("a.exe", b"MZ", "application/octet-stream", 415),
    ("a", b"text", "text/plain", 415),
    ("a.docx", docx("xl/workbook.xml"), "application/octet-stream", 415),
    ("a.docx", b"PK\x03\x04 broken", "application/octet-stream", 415),
    ("a.docx", docx(content=bytes(30_000_000)), "application/octet-stream", 422),
    ("../a.txt", b"text", "text/plain", 400),
    ("a.txt", b"", "text/plain", 400),
]


async def test_name_type_and_bytes_agree(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for name, content, kind, status in CASES:
        made = await upload(app, admin, name, content, kind)
        assert made.status_code == status, (name, kind, made.text)
        if status != 201:
            assert made.json()["error"]["message"]
    kept = (await app.call("GET", FILES, key=admin)).json()["files"]
    assert len(kept) == sum(one[3] == 201 for one in CASES), "nothing else was kept"


async def test_sizes_are_capped_before_and_while_they_come(
    app: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = (await app.first())["access_token"]
    monkeypatch.setattr(app.app.state.files, "_most", 1000)
    assert (await upload(app, admin, "a.txt", b"x" * 1001)).status_code == 413
    asked = {"name": "a.txt", "size": 1001}
    assert (await app.call("POST", FILES, asked, admin)).status_code == 413
    assert (await upload(app, admin, "a.txt", b"x" * 1000)).status_code == 201
    coming = app.data / "files" / "coming"
    assert list(coming.iterdir()) == []


async def test_what_is_announced_wrongly_is_422(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    wrong: list[dict[str, Any]] = [
        {"name": "a.md"},
        {"name": "a.md", "size": 0},
        {"name": "a.md", "size": 5, "owner_id": "x"},
        {"name": "a.md", "size": 5, "sha256": "zz"},
        {"name": "", "size": 5},
    ]
    for asked in wrong:
        refused = await app.call("POST", FILES, asked, admin)
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"]["param"]


async def test_lists_go_page_by_page(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for n in range(3):
        app.clock.turn(seconds=1)
        await upload(app, admin, f"{n}.txt", b"x")
    page = (await app.call("GET", f"{FILES}?limit=2", key=admin)).json()
    assert [one["name"] for one in page["files"]] == ["2.txt", "1.txt"]
    rest = (await app.call("GET", f"{FILES}?cursor={page['next']}", key=admin)).json()
    assert ([one["name"] for one in rest["files"]], rest["next"]) == (["0.txt"], None)
    assert (await app.call("GET", f"{FILES}?limit=1000000000", key=admin)).status_code == 422
    assert (await app.call("GET", f"{FILES}?cursor=xx", key=admin)).status_code == 400


# Where bytes lie


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = pytest.importorskip("moto.server")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        running.stop()


@pytest.fixture(params=["local", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FileStore:
    if request.param == "local":
        return LocalFiles(tmp_path / "kept")
    url = request.getfixturevalue("s3_server")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3

    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="kept")
    return S3Files("kept", "of/dure", url)


async def test_both_stores_keep_replace_and_forget(store: FileStore, tmp_path: Path) -> None:
    content = os.urandom(700_000)
    part = tmp_path / "part"
    for given in (b"first", content):
        part.write_bytes(given)
        await store.put("acme/file_1", part)
        assert not part.exists(), "the bytes lie in one place"
    pieces = [piece async for piece in store.get("acme/file_1")]
    assert b"".join(pieces) == content
    assert len(pieces) > 1, "never whole in memory"
    await store.delete("acme/file_1")
    await store.delete("acme/file_1")
    with pytest.raises(NotFoundError):
        [piece async for piece in store.get("acme/file_1")]


async def test_a_store_that_does_not_answer_names_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    part = tmp_path / "part"
    part.write_bytes(b"x")
    with pytest.raises(StorageError) as failed:
        await S3Files("kept", "", "http://127.0.0.1:9").put("a", part)
    assert "secret" not in str(failed.value)
    assert "AKIA" not in str(failed.value)


def test_settings_of_places_are_checked() -> None:
    for given in ({"files": "ftp://x"}, {"files": "s3://"}, {"knowledge_store": "pgvector"}):
        with pytest.raises(InvalidArgumentError):
            Settings(**given)
    assert Settings(files="s3://bucket/a/b").files == "s3://bucket/a/b"
