"""The balena fleet: every validator that runs here, and what balena itself would pass over."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from deploy.balena import dockerfiles

HERE = Path(__file__).parents[2] / "deploy/balena"
COMPOSE = HERE / "docker-compose.yml"
BIN = Path(sys.executable).parent
SUPPORTED = {
    "build", "cap_add", "cap_drop", "cgroup_parent", "command", "cpu_shares", "cpu_quota", "cpuset",
    "devices", "depends_on", "dns", "dns_opt", "dns_search", "domainname", "entrypoint",
    "environment", "expose", "extra_hosts", "group_add", "healthcheck", "hostname", "image", "ipc",
    "labels", "mac_address", "mem_limit", "mem_reservation", "network_mode", "networks",
    "oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "ports", "privileged", "read_only",
    "restart", "security_opt", "shm_size", "stop_grace_period", "stop_signal", "sysctls", "tmpfs",
    "ulimits", "user", "userns_mode", "volumes",
}  # fmt: skip
"""docs.balena.io, docker-compose.yml fields; what is not among them is ignored without a word."""
POWERS = {"io.balena.features.balena-api", "io.balena.features.supervisor-api",
          "io.balena.features.balena-socket", "io.balena.features.dbus",
          "io.balena.features.kernel-modules", "io.balena.features.firmware",
          "io.balena.features.procfs", "io.balena.features.sysfs"}  # fmt: skip


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return found


def offences(found: dict[str, Any]) -> list[str]:
    """Return what balena ignores or refuses, and rights that nobody needs."""
    told = []
    if found.get("version") != "2.4":
        told.append("version: expected 2.4")
    for name, service in found["services"].items():
        told += [f"{name}.{key}: ignored by balena" for key in service if key not in SUPPORTED]
        if isinstance(service.get("depends_on"), dict):
            told.append(f"{name}.depends_on: only as a list")
        if service.get("privileged"):
            told.append(f"{name}: privileged")
        if "ALL" not in service.get("cap_drop", []) or not service.get("read_only"):
            told.append(f"{name}: more rights than needed")
        told += [f"{name}: {label}" for label in service.get("labels", {}) if label in POWERS]
        for volume in service.get("volumes", []):
            if not re.match(r"^[a-z]+:/", volume):
                told.append(f"{name}: {volume} is a bind mount")
        if "$" in json.dumps(service):
            told.append(f"{name}: substitution does nothing")
    return told


def test_compose_is_valid_by_its_schema() -> None:
    command = [
        str(BIN / "check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        str(COMPOSE),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def read_by_balena(path: Path) -> subprocess.CompletedProcess[str]:
    """Have balena's own reader read a compose file."""
    reader = Path(__file__).with_name("balena")
    node = shutil.which("node")
    if node is None or not (reader / "node_modules").is_dir():
        pytest.skip("balena's reader is not installed: it takes npm (deploy/local/test.sh)")
    return subprocess.run(
        [node, reader / "read.js", path], capture_output=True, text=True, check=False
    )


def test_balenas_own_reader_takes_it_whole(tmp_path: Path) -> None:
    done = read_by_balena(COMPOSE)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    for name, service in compose()["services"].items():
        assert set(services[name]) == set(service)
    planted = tmp_path / "docker-compose.yml"
    for text, wrong in (("mem_limit: 1g", "mem_limit: [1]"), ('"2.4"', '"9"')):
        planted.write_text(COMPOSE.read_text().replace(text, wrong))
        assert read_by_balena(planted).returncode != 0, wrong


def test_nothing_in_it_is_ignored_by_balena_or_gives_a_right_too_many() -> None:
    assert offences(compose()) == []


@pytest.mark.parametrize(
    "planted",
    [
        {"privileged": True}, {"runtime": "nvidia"}, {"env_file": "x"}, {"volumes": ["/etc:/etc"]},
        {"labels": {"io.balena.features.dbus": "1"}}, {"depends_on": {"join": {}}},
        {"cap_drop": []}, {"read_only": False}, {"environment": {"A": "${B}"}},
    ],
)  # fmt: skip
def test_a_planted_offence_is_found(planted: dict[str, Any]) -> None:
    found = compose()
    found["services"]["vision"] |= planted
    assert len(offences(found)) == 1


def test_vision_has_no_network_and_the_publisher_no_camera() -> None:
    services = compose()["services"]
    assert services["vision"]["network_mode"] == "none"
    assert "devices" not in services["publisher"]
    assert services["vision"]["user"] != services["publisher"]["user"]
    writable = {v for v in services["vision"]["volumes"] if not v.endswith(":ro")}
    assert writable == {"link:/run/dizaine"}


def test_every_device_type_has_its_dockerfile_and_it_is_up_to_date() -> None:
    told = yaml.safe_load((HERE / "balena.yml").read_text())
    assert set(told["data"]["supportedDeviceTypes"]) == set(dockerfiles.BOARDS)
    assert told["type"] == "sw.application"
    for path, text in dockerfiles.texts().items():
        assert path.read_text() == text, f"run: python -m deploy.balena.dockerfiles ({path.name})"
    assert {p.name for p in HERE.glob("Dockerfile.*")} == {p.name for p in dockerfiles.texts()}


@pytest.mark.parametrize("path", sorted(HERE.glob("Dockerfile.*")), ids=lambda path: path.name)
def test_a_dockerfile_passes_its_linter_and_takes_the_images_lock(path: Path) -> None:
    if not (BIN / "hadolint").exists():
        pytest.skip("hadolint has no wheel for this machine")
    done = subprocess.run(
        [str(BIN / "hadolint"), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    parsed = DockerfileParser(fileobj=path.open("rb"))
    assert parsed.baseimage == dockerfiles.BASE
    assert "balenalib" not in path.read_text()
    assert "--require-hashes -r requirements/edge.lock" in parsed.content


def test_what_is_pushed_has_everything_at_its_root(tmp_path: Path) -> None:
    out = tmp_path / "push"
    done = subprocess.run([HERE / "assemble.sh", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in out.iterdir()}
    assert {
        "docker-compose.yml",
        "balena.yml",
        "requirements",
        "edge_agent",
        "pyproject.toml",
    } <= names
    assert {f"Dockerfile.{board}" for board in dockerfiles.BOARDS} <= names
    assert "tests" not in names
    again = subprocess.run([HERE / "assemble.sh", out], capture_output=True, text=True, check=False)
    assert (again.returncode, "not empty" in again.stderr) == (2, True)


@pytest.mark.parametrize("script", ["join.sh", "start.sh", "assemble.sh"])
def test_its_scripts_are_read_by_the_shell(script: str) -> None:
    subprocess.run(["sh", "-n", HERE / script], check=True)
