"""Three RabbitMQ nodes of this test run alone, in a cluster, with the MQTT plugin."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.processes import answers, free_port

BIN = "/usr/lib/rabbitmq/bin"
"""Not the scripts in /usr/sbin, which are for the one node of a whole machine."""
COOKIE = "dizainetestcookie"


class Node:
    """One node, which can be killed and started again."""

    def __init__(self, name: str, folder: Path, epmd: int) -> None:
        self.name = f"{name}@localhost"
        self.folder = folder / name
        self.amqp, self.mqtt, self._distribution = free_port(), free_port(), free_port()
        self._epmd = epmd
        self.process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir()
        (self.folder / "enabled_plugins").write_text("[rabbitmq_mqtt].")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp}\n"
            f"mqtt.listeners.tcp.1 = 127.0.0.1:{self.mqtt}\n"
            "mqtt.allow_anonymous = true\nmqtt.default_user = guest\nmqtt.default_pass = guest\n"
            "mqtt.exchange = amq.topic\nloopback_users.guest = true\nlog.file.level = warning\n"
            "vm_memory_high_watermark.absolute = 512MiB\ndisk_free_limit.absolute = 10MB\n"
            "cluster_partition_handling = pause_minority\n"
        )
        (self.folder / ".erlang.cookie").write_text(COOKIE)
        (self.folder / ".erlang.cookie").chmod(0o400)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "rabbitmq", str(self.folder)], check=True)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.name, "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": str(self.folder), "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_DIST_PORT": str(self._distribution), "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_NODE_PORT": str(self.amqp), "RABBITMQ_USE_LONGNAME": "false",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }  # fmt: skip

    def _as_rabbit(self, *command: str) -> list[str]:
        user = ["runuser", "-u", "rabbitmq", "--"] if os.geteuid() == 0 else []
        settings = [f"{key}={value}" for key, value in self._environment().items()]
        return [*user, "env", "-i", *settings, *command]

    def start(self) -> None:
        with (self.folder.parent / f"{self.folder.name}.out").open("ab") as out:
            self.process = subprocess.Popen(
                self._as_rabbit(f"{BIN}/rabbitmq-server"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def wait(self, within_s: float = 120.0) -> None:
        deadline = time.monotonic() + within_s
        while not (answers(self.amqp) and answers(self.mqtt)):
            assert time.monotonic() < deadline, f"{self.name} did not start"
            time.sleep(0.3)

    def control(self, *arguments: str) -> None:
        done = subprocess.run(
            self._as_rabbit(f"{BIN}/rabbitmqctl", "-n", self.name, *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def available() -> bool:
    """Return whether RabbitMQ is installed."""
    return shutil.which("rabbitmq-server", path="/usr/sbin") is not None


@contextmanager
def cluster(folder: Path) -> Iterator[list[Node]]:
    """Yield three nodes that have joined; none of them outlives this."""
    for path in (folder, *folder.parents):
        if "pytest-of" in str(path):
            path.chmod(0o755)
    socket.gethostbyname("localhost")
    epmd = free_port()
    nodes = [Node(f"dz{n}", folder, epmd) for n in range(3)]
    try:
        _join(nodes)
        yield nodes
    finally:
        for node in nodes:
            node.kill()
        subprocess.run(["pkill", "-f", f"epmd.*{epmd}"], check=False)


def _join(nodes: list[Node]) -> None:
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait()
    for node in nodes[1:]:
        node.control("stop_app")
        node.control("join_cluster", nodes[0].name)
        node.control("start_app")
    for node in nodes:
        node.wait()
