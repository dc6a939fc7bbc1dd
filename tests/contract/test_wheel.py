"""The wheel runs where Debian's packages are not: all it maps is its own or allowed."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.contract.memory_search import left_after_close

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel() -> Path:
    subprocess.run([ROOT / "scripts" / "wheel", "--no-test"], check=True, cwd=ROOT)
    (made,) = (ROOT / "dist").glob("dure-*manylinux*.whl")
    return made


def allowed_libraries(tag: str) -> set[str]:
    """The libraries that auditwheel's policy of this tag takes for granted."""
    code = (
        "import json, sys; from auditwheel.policy import WheelPolicies; "
        "from auditwheel.architecture import Architecture; from auditwheel.libc import Libc; "
        "policies = WheelPolicies(libc=Libc.GLIBC, arch=Architecture.x86_64); "
        "print(json.dumps(sorted(policies.get_policy_by_name(sys.argv[1]).whitelist)))"
    )
    python = ROOT / ".venv" / "bin" / "python"
    out = subprocess.check_output([python, "-c", code, tag], text=True)
    return set(json.loads(out))


@pytest.mark.timeout(900)
def test_wheel_maps_only_its_own_libraries(wheel: Path) -> None:
    python = ROOT / "build" / "wheel-env" / "bin" / "python"
    script = ROOT / "tests" / "contract" / "rooms.py"
    out = subprocess.check_output([python, "-I", script], text=True, cwd="/")
    seen = json.loads(out.splitlines()[-1])
    home = str(ROOT / "build" / "wheel-env")
    assert seen["file"].startswith(home), "the wheel itself must be under test, not the checkout"
    tag = next(part for part in wheel.stem.split("-")[-1].split(".") if "manylinux" in part)
    allowed = allowed_libraries(tag)
    foreign = [
        path
        for path in set(seen["after"]) - set(seen["before"])
        if not path.startswith((home, seen["interpreter"]))
        and Path(path).name not in allowed
        and not Path(path).name.startswith("ld-linux")
    ]
    assert foreign == []
    assert any("_core" in path and path.startswith(home) for path in seen["after"])


@pytest.mark.timeout(900)
def test_wheel_holds_what_it_should(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.endswith((".pth", ".h", ".a", ".cc"))]
    assert "dure/py.typed" in names
    assert any(name.endswith("licenses/NOTICE") for name in names)


@pytest.mark.timeout(900)
def test_modules_export_their_entry_point_only(wheel: Path) -> None:
    assert wheel.exists()
    modules = list((ROOT / "build" / "wheel-env").rglob("dure/*.so"))
    assert modules
    for module in modules:
        out = subprocess.check_output(["nm", "-D", "--defined-only", module], text=True)
        exported = {line.split()[-1] for line in out.splitlines()}
        assert [name for name in exported if not name.startswith("PyInit_")] == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["a", "b"])
def test_no_key_is_left_after_close(wheel: Path, engine: str) -> None:
    assert wheel.exists()
    python = ROOT / "build" / "wheel-env" / "bin" / "python"
    code = "import dure; print(dure.build_info()['libcurl'])"
    assert subprocess.check_output([python, "-I", "-c", code], text=True, cwd="/") == "its own\n"
    before, after = left_after_close(python, engine)
    assert before > 0, "the search must find it while it is there"
    assert after == 0
