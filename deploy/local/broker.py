"""A broker for one machine: mosquitto where it is installed, else amqtt from the lock file.

Both listen on 127.0.0.1 only and keep nothing on disk: the device's spool is what loses nothing.
Run as a program, it is the amqtt broker: `python -m deploy.local.broker PORT`.
"""

import asyncio
import shutil
import sys
from pathlib import Path

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_dest stderr
log_type warning
log_type error
"""


def command(port: int, folder: Path) -> tuple[str, list[str]]:
    """Return the broker's name and the command that runs it; `folder` takes its configuration."""
    mosquitto = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if mosquitto:
        configuration = folder / "mosquitto.conf"
        configuration.write_text(_MOSQUITTO.format(port=port))
        return "mosquitto", [mosquitto, "-c", str(configuration)]
    return "amqtt", [sys.executable, "-m", "deploy.local.broker", str(port)]


async def _serve(port: int) -> None:
    from amqtt.broker import Broker  # noqa: PLC0415 - only where it is the broker

    configuration = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
        },
    }
    broker = Broker(configuration)
    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
