"""People join and leave, get new passwords; keys and logins end where they are no longer of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.service.inside import Inside

USERS, ORGS = "/api/admin/users", "/api/admin/orgs"


async def test_who_leaves_has_no_keys_and_no_login_left_and_stays_in_the_figures(
    app: Inside,
) -> None:
    admin = (await app.first())["access_token"]
    own = (await app.call("GET", "/api/auth/me", key=admin)).json()["user_id"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    key = await app.key(kim)
    at = f"{USERS}/{user_id}"
    assert (await app.call("DELETE", at, key=kim)).status_code == 403
    assert (await app.call("DELETE", f"{USERS}/{own}", key=admin)).status_code == 403
    assert (await app.call("DELETE", at, key=admin)).status_code == 204
    for credential in (kim, key):
        assert (await app.call("GET", "/api/auth/me", key=credential)).status_code == 401
    assert (await app.call("GET", at, key=admin)).status_code == 404
    assert (await app.call("DELETE", at, key=admin)).status_code == 404
    joined = await app.call("PUT", f"{ORGS}/default/users/{user_id}", {"role": "viewer"}, admin)
    assert joined.json()["role"] == "viewer", joined.text
    assert (await app.call("GET", "/api/auth/me", key=key)).status_code == 401, "keys stay revoked"
    again = await app.login("kim@example.com")
    assert (await app.call("GET", "/api/auth/me", key=again)).json()["role"] == "viewer"


async def test_a_person_of_two_organisations_is_in_both_and_changed_by_operators_only(
    app: Inside,
) -> None:
    root = (await app.first())["access_token"]
    _, boss = await app.add(root, "boss@example.com", "admin")
    user_id, _ = await app.add(root, "kim@example.com", "user")
    assert (await app.call("POST", ORGS, {"id": "other", "name": "O"}, root)).status_code == 201
    place = f"{ORGS}/other/users/{user_id}"
    assert (await app.call("PUT", place, {"role": "admin"}, boss)).status_code == 403
    assert (await app.call("PUT", place, {"role": "admin"}, root)).json()["role"] == "admin"
    assert (await app.call("PUT", place, {"role": "root"}, root)).status_code == 422
    nobody = f"{ORGS}/other/users/usr_no"
    assert (await app.call("PUT", nobody, {"role": "user"}, root)).status_code == 404
    assert (await app.call("GET", f"{ORGS}/other", key=boss)).status_code == 404
    assert (await app.call("GET", f"{ORGS}/other", key=root)).json()["id"] == "other"
    assert (await app.call("GET", f"{ORGS}/default", key=boss)).json()["id"] == "default"
    password = {"password": "another long passphrase"}
    at = f"{USERS}/{user_id}/password"
    refused = await app.call("PUT", at, password, boss)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "operator_only")


async def test_a_new_password_ends_every_login(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    at = f"{USERS}/{user_id}/password"
    assert (await app.call("PUT", at, {"password": "short"}, admin)).status_code == 422
    new = {"password": "another long passphrase"}
    assert (await app.call("PUT", at, new, admin)).status_code == 204
    assert (await app.call("GET", "/api/auth/me", key=kim)).status_code == 401
    login = {"email": "kim@example.com"}
    old = await app.call("POST", "/api/auth/login", {**login, "password": "correct horse battery"})
    assert old.status_code == 401
    assert (await app.call("POST", "/api/auth/login", {**login, **new})).status_code == 200
    told = (await app.call("GET", "/api/admin/audit", key=admin)).text
    assert "user.password" in told
    assert "another long" not in told
