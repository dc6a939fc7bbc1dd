"""The files that deploy the service: no engine builds them here, so every line is looked at."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dure.service.app import create_app
from dure.service.settings import Issuer, Settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.service.conftest import free_port, wait_until_up

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
COMPOSE = ("docker-compose.yml", "docker-compose.dev.yml")
SERVICE_KEYS = {
    *("build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck"),
    *("image", "networks", "ports", "profiles", "read_only", "restart", "security_opt"),
    *("stop_grace_period", "tmpfs", "user", "volumes", "working_dir"),
}
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period", "disable"}
INSTRUCTIONS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "SHELL"),
    *("STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
API_VERSIONS = {
    "Namespace": "v1",
    "ConfigMap": "v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Ingress": "networking.k8s.io/v1",
}
NOT_OURS = {"DURE_WORKERS", "DURE_EDGE_NETWORK", "DURE_CLIENT_SECRET"}  # compose's and Keycloak's


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def compose(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text(path))
    return found


def settings_names() -> set[str]:
    own = {f"DURE_{name.upper()}" for name in Settings.model_fields}
    return own | {f"{name}_FILE" for name in own} | {"DURE_SETTINGS"}


def documents() -> Iterator[dict[str, Any]]:
    for path in sorted((ROOT / "deploy/kubernetes").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text("utf-8"))


def of_kind(kind: str) -> dict[str, Any]:
    return next(one for one in documents() if one["kind"] == kind)


# Docker ------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text("Dockerfile"), flags=re.MULTILINE))
    lines = [line.strip() for line in joined.splitlines() if line.strip()]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def test_the_image_is_built_by_known_instructions_in_two_stages() -> None:
    found = instructions()
    assert {name for name, _ in found} <= INSTRUCTIONS, "ADD and the like are not taken"
    bases = [argument for name, argument in found if name == "FROM"]
    assert len(bases) == 2
    for base in bases:
        assert re.fullmatch(r"python:\$\{PYTHON\}-[\w-]+ AS \w+", base), "a tag, never latest"


def test_the_image_runs_as_nobody_special_and_says_how_it_is_doing() -> None:
    last: dict[str, str] = dict(instructions())
    assert last["USER"] == "10001:10001"
    assert "/health/ready" in last["HEALTHCHECK"]
    for name in ("ENTRYPOINT", "CMD"):
        assert json.loads(last[name]), "the exec form: signals reach the process"
    assert last["STOPSIGNAL"] == "SIGTERM"


def test_what_the_image_installs_is_pinned_and_leaves_no_cache() -> None:
    runs = [argument for name, argument in instructions() if name == "RUN"]
    for run in runs:
        if "apt-get install" in run:
            assert "--no-install-recommends" in run
            assert "rm -rf /var/lib/apt/lists/*" in run
        for command in re.findall(r"pip (?:install|wheel) [^&]*", run):
            assert "--no-cache-dir" in command
    wheel = next(run for run in runs if "pip install" in run and "build==" in run)
    assert all("==" in one for one in re.findall(r'"([\w=.]+)"', wheel))
    assert any("--require-hashes -r /tmp/requirements.txt" in run for run in runs)
    shell = next(argument for name, argument in instructions() if name == "SHELL")
    assert "pipefail" in shell


def test_no_secret_and_no_build_output_enters_the_image() -> None:
    ignored = set(text(".dockerignore").split())
    assert {".git", ".env", ".venv", "build", "dist"} <= ignored
    assert not re.search(r"(?i)(password|secret|api_key)=\S", text("Dockerfile"))


# Compose -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMPOSE)
def test_compose_files_have_the_schema(path: str) -> None:
    found = compose(path)
    assert set(found) <= {"name", "services", "networks", "volumes"}
    for name, service in found["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= HEALTH_KEYS, name
        for port in service.get("ports", ()):
            assert re.fullmatch(r"(127\.0\.0\.1:)?(\d+|\$\{\w+:-\d+\}):\d+", port), port
        image = service.get("image")
        assert image is None or re.fullmatch(r"[\w./-]+:[\w.-]+", image), image
        assert image is None or not image.endswith(":latest")
        environment = service.get("environment", {})
        assert all(isinstance(value, str) for value in environment.values()), name


def test_compose_names_what_exists() -> None:
    found = compose(COMPOSE[0])
    assert set(found["services"]) == {"service", "postgres", "redis", "keycloak", "nginx"}
    assert set(compose(COMPOSE[1])["services"]) <= set(found["services"])
    for name, service in found["services"].items():
        assert set(service["networks"]) <= set(found["networks"]), name
        for volume in service.get("volumes", ()):
            source = re.sub(r"^\$\{\w+:-([^}]+)\}", r"\1", volume).split(":")[0]
            if source.startswith("./"):
                assert source.endswith("/tls") or (ROOT / source).is_file(), source
            else:
                assert source in found["volumes"], source
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            built = other == "service"  # its check is in the image
            assert built or "healthcheck" in found["services"][other], other


def test_only_the_proxy_is_open_to_the_network() -> None:
    services = compose(COMPOSE[0])["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    for service in compose(COMPOSE[1])["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_every_variable_of_compose_stands_in_the_example() -> None:
    example = dict(
        line.split("=", 1)
        for line in text(".env.example").splitlines()
        if line and not line.startswith("#")
    )
    asked = set(re.findall(r"\$\{(\w+)", text(COMPOSE[0]) + text(COMPOSE[1])))
    assert asked - set(example) == {"DURE_EDGE_NETWORK"}
    secret = re.compile("PASSWORD|SECRET|API_KEY")
    assert not [name for name, value in example.items() if secret.search(name) and value]
    ours = {name for name in example if name.startswith("DURE_")}
    assert ours - settings_names() <= NOT_OURS


def test_every_setting_of_the_files_is_one() -> None:
    named = set(compose(COMPOSE[0])["services"]["service"]["environment"])
    named |= set(compose(COMPOSE[1])["services"]["service"]["environment"])
    named |= set(of_kind("ConfigMap")["data"])
    named |= set(re.findall(r"DURE_\w+", text("deploy/systemd/dure.service")))
    named |= set(re.findall(r"\b(DURE_\w+)=", text("Dockerfile")))
    assert {name for name in named if name.startswith("DURE_")} <= settings_names()


def test_login_is_on_wherever_it_is_deployed() -> None:
    for path in (*COMPOSE, "Dockerfile", ".env.example", "deploy/systemd/dure.service"):
        assert "DURE_AUTH" not in text(path), path
    assert "DURE_AUTH" not in of_kind("ConfigMap")["data"]


# Kubernetes --------------------------------------------------------------------------------------


def test_manifests_are_of_current_kinds_and_all_listed() -> None:
    listed = yaml.safe_load(text("deploy/kubernetes/kustomization.yaml"))["resources"]
    there = {path.name for path in (ROOT / "deploy/kubernetes").glob("*.yaml")}
    assert set(listed) == there - {"kustomization.yaml"}
    for one in documents():
        assert API_VERSIONS[one["kind"]] == one["apiVersion"]
        assert one["metadata"]["name"].startswith("dure")


def test_selectors_find_the_pods_and_ports_have_names_that_exist() -> None:
    pod = of_kind("StatefulSet")["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    ports = {port["name"] for one in pod["spec"]["containers"] for port in one["ports"]}
    services = {one["metadata"]["name"] for one in documents() if one["kind"] == "Service"}
    for one in documents():
        spec = one.get("spec", {})
        if one["kind"] == "Service":
            assert spec["selector"].items() <= labels
            assert {port["targetPort"] for port in spec["ports"]} <= ports
        elif "selector" in spec:
            assert spec["selector"]["matchLabels"].items() <= labels
        elif "podSelector" in spec:
            assert spec["podSelector"]["matchLabels"].items() <= labels
    assert of_kind("StatefulSet")["spec"]["serviceName"] in services
    rule = of_kind("Ingress")["spec"]["rules"][0]["http"]["paths"][0]
    assert rule["backend"]["service"]["name"] in services


def test_probes_ask_routes_that_exist(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, access_log="off"))
    routes = {getattr(route, "path", "") for route in app.routes}
    container = of_kind("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in routes
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"


def test_pods_are_restricted_and_secrets_are_files() -> None:
    pod = of_kind("StatefulSet")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    container = pod["containers"][0]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {one["name"] for one in container["volumeMounts"]}
    claimed = {
        one["metadata"]["name"] for one in of_kind("StatefulSet")["spec"]["volumeClaimTemplates"]
    }
    assert mounts == {one["name"] for one in pod["volumes"]} | claimed
    for value in of_kind("ConfigMap")["data"].values():
        assert not re.search(r"sk-|://[^/]*:[^/]*@", value)
    drain = Settings.model_fields["drain_seconds"].default
    assert pod["terminationGracePeriodSeconds"] > drain
    assert int(compose(COMPOSE[0])["services"]["service"]["stop_grace_period"][:-1]) > drain


# systemd, nginx, realm, workflows ----------------------------------------------------------------


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text("deploy/systemd/dure.service").splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_drains_reloads_and_is_shut_in() -> None:
    found = unit()
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(found["TimeoutStopSec"][0]) > Settings.model_fields["drain_seconds"].default
    for name in ("NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectHome"):
        assert found[name] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    here = text("deploy/systemd/dure.service").replace("/opt/dure/bin/dure", sys.executable)
    path = tmp_path / "dure.service"
    path.write_text(here)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "dure.service" in line]
    assert (done.returncode, ours) == (0, [])


def test_the_proxy_holds_nothing_back() -> None:
    found = text("deploy/nginx/dure.conf")
    assert found.count("{") == found.count("}")
    for line in found.splitlines():
        bare = line.split("#")[0].strip()
        assert not bare or bare[-1] in "{};", line
    for wanted in ("proxy_buffering         off", "proxy_request_buffering off", "ssl_protocols"):
        assert wanted in found


def test_the_realm_gives_what_the_service_looks_at() -> None:
    realm = json.loads(text("deploy/keycloak/dure-realm.json"))
    assert {one["name"] for one in realm["roles"]["realm"]} == {"viewer", "user", "admin"}
    client = realm["clients"][0]
    assert client["attributes"]["pkce.code.challenge.method"] == "S256"
    assert client["secret"] == "${DURE_CLIENT_SECRET}"
    assert not client["directAccessGrantsEnabled"]
    assert not client["implicitFlowEnabled"]
    assert client["redirectUris"] == ["/api/auth/oidc/keycloak/callback"], "one, without a star"
    mappers = {one["name"]: one["config"] for one in realm["clientScopes"][0]["protocolMappers"]}
    issuer = Issuer(
        name="keycloak",
        issuer="https://sso.example.com/realms/dure",
        audience=mappers["audience"]["included.custom.audience"],
        algorithm=realm["defaultSignatureAlgorithm"],
        client_id=client["clientId"],
    )
    assert issuer.faults() == []
    assert client["defaultClientScopes"] == [realm["clientScopes"][0]["name"]]


def test_workflows_call_the_scripts_that_people_call() -> None:
    families = re.search(r"for family in \$\{\*:-([\w ]+)\}", text("scripts/nightly"))
    assert families is not None
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        flow = yaml.safe_load(path.read_text("utf-8"))
        assert flow["permissions"] == {"contents": "read"}
        for name, job in flow["jobs"].items():
            assert job["timeout-minutes"] <= 360, name
            for step in job["steps"]:
                uses = step.get("uses")
                assert uses is None or re.fullmatch(r"actions/[\w-]+@v\d+", uses), uses
                for script in re.findall(r"(scripts/[\w-]+)", step.get("run", "")):
                    assert os.access(ROOT / script, os.X_OK), script
            asked = job.get("strategy", {}).get("matrix", {}).get("family")
            assert asked is None or asked == families[1].split()


# What is installed, and how it starts ------------------------------------------------------------


def test_the_requirements_are_locked_with_hashes_and_hold_what_the_extras_ask() -> None:
    import tomllib

    joined = re.sub(r"\\\n", " ", text("requirements.txt"))
    lines = [line for line in joined.splitlines() if line.strip() and line.strip()[0] != "#"]
    locked: dict[str, set[str]] = {}
    for line in lines:
        assert "--hash=sha256:" in line, line
        one = Requirement(line.partition("--hash")[0].strip())
        (pin,) = one.specifier
        assert pin.operator == "=="
        locked.setdefault(canonicalize_name(one.name), set()).add(pin.version)
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(one) for one in project["dependencies"]]
    for extra in ("db", "oidc", "service", "postgres", "redis", "files"):
        asked += [Requirement(one) for one in extras[extra]]
    for one in asked:
        if one.name == "dure":
            continue
        versions = locked.get(canonicalize_name(one.name))
        assert versions, f"{one.name} is not locked: run scripts/lock"
        assert all(one.specifier.contains(version) for version in versions), one
    assert "litellm" not in locked


def test_uvicorn_reloads_the_app(tmp_path: Path) -> None:
    port = free_port()
    command = f"-m uvicorn dure.service.app:app --reload --reload-dir {tmp_path} --port {port}"
    own = {
        "DURE_AUTH": "off",
        "DURE_DATA": str(tmp_path / "data"),
        "DURE_ACCESS_LOG": "off",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "OPENAI_API_KEY": "sk-none",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    }
    process = subprocess.Popen(
        [sys.executable, *shlex.split(command)],
        env=os.environ | own,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
