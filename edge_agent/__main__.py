"""`dizaine-agent`: what runs on a device."""

import argparse
import contextlib
import json
import logging
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent import config as configuration
from edge_agent import joining, measure, sandbox, surroundings
from edge_agent.config import AgentConfig, ConfigError, Loaded
from edge_agent.io import clock, keys, packets
from edge_agent.io.identity import IdentityError
from edge_agent.io.keys import KeyFileError
from edge_agent.io.light import Light, LightError
from edge_agent.io.process import log_to_stderr
from edge_agent.measure import Build, MeasureError
from edge_agent.pixels import keeper as decoding
from edge_agent.supervisor import BEGIN_ANEW, CANNOT_START, WRONG_INPUT, Supervised, supervise

log = logging.getLogger("edge_agent")

SIGNATURE_SUFFIX = ".sig"
OPERATOR_KEY = "operator.pub.pem"
LONGEST_REASON = 400


class UnsafeError(RuntimeError):
    """The surroundings are not safe; one line a finding."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status: 2 where the input is wrong."""
    log.addHandler(logging.NullHandler())
    given = _parser().parse_args(argv)
    try:
        return _COMMANDS[given.command](given)
    except (ConfigError, IdentityError, KeyFileError, LightError, MeasureError, UnsafeError,
            sandbox.SandboxError) as error:  # fmt: skip
        if given.command in ("vision", "publisher"):
            _cannot_start(error)
        else:
            print(error, file=sys.stderr)  # noqa: T201 - for whoever typed the command
        return WRONG_INPUT


def _cannot_start(error: Exception) -> None:
    """Say why a process ends in a line that passes the gate."""
    why = str(error).encode("ascii", "backslashreplace").decode()
    log.error("%s%s", CANNOT_START, why[:LONGEST_REASON])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dizaine-agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, required=True, help="agent.toml")
    shared.add_argument(
        "--operator-key", type=Path, metavar="PEM",
        help=f"the operator's public key (default: {OPERATOR_KEY} beside the configuration)",
    )  # fmt: skip
    shared.add_argument(
        "--unsafe-development", action="store_true",
        help="run where pixels could leave memory; every record says so",
    )  # fmt: skip
    for name, text in (
        ("run", "count: starts vision and publisher and keeps them running"),
        ("check", "look whether everything that counting needs is there, and safe"),
        ("declare", "print what the configuration declares in public, and its fingerprint"),
        ("vision", "only the process that owns the camera"),
        ("publisher", "only the process that owns the network"),
    ):
        own = commands.add_parser(name, parents=[shared], help=text, description=text)
        if name == "run":
            own.add_argument(
                "--part", action="append", choices=["vision", "publisher"],
                help="only this process, where each is a service of its own",
            )  # fmt: skip
    text = "look what the networks would run on here, and how fast"
    doctor = commands.add_parser("doctor", help=text, description=text)
    doctor.add_argument("--config", type=Path, help="agent.toml (default: as if it named nothing)")
    doctor.add_argument("--operator-key", type=Path, metavar="PEM", help="as for run")
    text = "print what this program is made of, and its fingerprint"
    commands.add_parser("measure", help=text, description=text)
    keygen = commands.add_parser("keygen", help="make the device's or the operator's key")
    keygen.add_argument("--out", type=Path, required=True, help="file for the private key")
    keygen.add_argument("--operator", action="store_true", help="the key that signs configurations")
    joining.add_parsers(commands)
    sign = commands.add_parser("sign", help="sign a configuration as its operator")
    sign.add_argument("--config", type=Path, required=True, help="agent.toml")
    sign.add_argument("--key", type=Path, required=True, help="the operator's private key")
    return parser


def _keygen(given: argparse.Namespace) -> int:
    print(keys.make(given.out, "operator" if given.operator else "device"))  # noqa: T201 - its answer
    return 0


def _sign(given: argparse.Namespace) -> int:
    content = configuration.read(given.config)
    configuration.parse(content, str(given.config), signed=True)
    beside = _signature_of(given.config)
    beside.write_text(keys.sign_as_operator(given.key, content).hex() + "\n")
    print(beside)  # noqa: T201
    return 0


def _signature_of(path: Path) -> Path:
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def _load(given: argparse.Namespace) -> Loaded:
    """Read a configuration, and its operator's signature where there is one.

    Raises:
        ConfigError: it cannot be used, or its signature is not the operator's.
        KeyFileError: the operator's public key cannot be used.
    """
    path: Path = given.config
    content = configuration.read(path)
    beside = _signature_of(path)
    signed = beside.is_file()
    if signed:
        public = given.operator_key or path.with_name(OPERATOR_KEY)
        try:
            signature = bytes.fromhex(beside.read_text().strip())
        except (ValueError, OSError):
            signature = b""
        if not keys.is_signed(public, signature, content):
            raise ConfigError(
                f"{beside}: not the signature of {path.name} by {public}; sign it again with:"
                " dizaine-agent sign"
            )
    return configuration.parse(content, str(path), signed=signed)


def _build(given: argparse.Namespace, loaded: Loaded) -> Build:
    """Return what runs, if it may run like this.

    Raises:
        MeasureError: a production build that is not what was built.
        UnsafeError: a production build is asked for what it refuses.
    """
    build = measure.measure(models=loaded.agent.detector.models_dir)
    if build.production and given.unsafe_development:
        raise UnsafeError("--unsafe-development: a production build refuses it; leave it away")
    if build.production and not loaded.declared.signed:
        raise UnsafeError(
            f"{given.config}: not signed by the operator, and a production build takes no other;"
            " sign it with: dizaine-agent sign"
        )
    return build


def _demand_safety(given: argparse.Namespace) -> None:
    """Look at the surroundings.

    Raises:
        UnsafeError: they are not safe, and nobody allowed that.
    """
    unsafe = [finding for finding in surroundings.examine() if not finding.safe]
    if unsafe and not given.unsafe_development:
        lines = "\n".join(map(str, unsafe))
        raise UnsafeError(
            f"{lines}\nnot started: put these right, or, to develop, add --unsafe-development"
        )


def _confine(given: argparse.Namespace, needs: sandbox.Needs) -> None:
    try:
        sandbox.confine(needs)
    except sandbox.SandboxError as error:
        if not given.unsafe_development:
            raise
        log.warning("event=not_confined why=%r", str(error))


@contextlib.contextmanager
def _data_dir(folder: Path) -> Iterator[None]:
    """Make the folder if it is not there, and name it where it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"data_dir {folder}: cannot be used ({reason})") from None


def _listen(agent: AgentConfig) -> socket.socket:
    if agent.link is None:
        with _data_dir(agent.data_dir):
            return packets.listen(agent.meeting_point)
    try:
        return packets.listen(agent.link, group=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"link {agent.link}: cannot be used ({reason})") from None


def _vision(given: argparse.Namespace) -> int:
    """Begin as vision: take what is needed, give up the rest, and only then load pixels.

    1. Everything that takes files, sockets and programs: key, listener, the decoder's keeper.
    2. Confine.
    3. Only now load what can hold a picture.
    """
    sandbox.die_with_parent()
    sandbox.forbid_dumps()
    log_to_stderr()
    loaded = _load(given)
    build = _build(given, loaded)
    # 1.
    agent = loaded.agent
    key = keys.load(agent.key_file)
    light = Light(agent.objection.light, agent.objection.light_s)
    is_signed = keys.command_check(agent.commands.public_key) if agent.commands.public_key else None
    listener = _listen(agent)
    order = decoding.order(agent.camera, agent.replay, lenient=given.unsafe_development)
    keeper = decoding.Keeper(order)
    # 2.
    _confine(given, sandbox.Needs(devices=sandbox.accelerator(agent.detector.runtime)))
    # 3.
    from edge_agent import vision  # noqa: PLC0415
    from edge_agent.core.ground import GroundError  # noqa: PLC0415
    from edge_agent.core.release import Speaker  # noqa: PLC0415
    from edge_agent.io.outlet import Outlet  # noqa: PLC0415
    from edge_agent.io.stops import Stops  # noqa: PLC0415
    from edge_agent.pixels.source import SourceError  # noqa: PLC0415

    speaker = Speaker(build.fingerprint, given.unsafe_development)
    try:
        stops = Stops(agent.device, is_signed)
        outlet = Outlet(listener, key.sign, stops, by_group=agent.link is not None)
        if decoding.is_live(agent.camera.source):
            clock.wait_until_set()
        now_s = time.time()  # noqa: TID251 - the clock comes in
        vision.run(loaded, speaker, outlet, stops, light, keeper=keeper, now_s=now_s)
    except vision.Halted:
        return BEGIN_ANEW
    except (SourceError, GroundError) as error:
        _cannot_start(error)
        return WRONG_INPUT
    return 0


def _publisher(given: argparse.Namespace) -> int:
    from edge_agent import publisher  # noqa: PLC0415 - vision must not even load the network
    from edge_agent.io.mqtt import MqttError  # noqa: PLC0415

    sandbox.die_with_parent()
    sandbox.forbid_dumps()
    log_to_stderr()
    loaded = _load(given)
    build = _build(given, loaded)
    agent = loaded.agent
    with _data_dir(agent.data_dir):
        pass
    needs = sandbox.Needs(folders=(agent.data_dir,), tcp_ports=(agent.mqtt.port,), sockets=True)
    _confine(given, needs)
    try:
        about = publisher.About(build.fingerprint, confined=not given.unsafe_development)
        publisher.Publisher(agent, loaded.declared, agent.meeting_point, about).run()
    except (publisher.PublisherError, MqttError) as error:
        _cannot_start(error)
        return WRONG_INPUT
    return 0


def _check(given: argparse.Namespace) -> int:
    """Look at everything; where it is not safe, 1."""
    from edge_agent import checks  # noqa: PLC0415 - no other process needs what it looks at

    findings = surroundings.examine()
    print("\n".join(map(str, findings)))  # noqa: T201
    loaded = _load(given)
    build = _build(given, loaded)
    try:
        for line in checks.look(loaded, build, str(given.config)):
            print(line, flush=True)  # noqa: T201
    except checks.CheckError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return WRONG_INPUT
    return 0 if given.unsafe_development or all(f.safe for f in findings) else 1


def _declare(given: argparse.Namespace) -> int:
    declared = _load(given).declared
    print(declared.canonical().decode())  # noqa: T201
    print(f"fingerprint {declared.fingerprint()}", file=sys.stderr)  # noqa: T201
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from edge_agent import checks  # noqa: PLC0415

    settings = _load(given).agent.detector if given.config else configuration.Detector()
    lines, works = checks.doctor(settings)
    print("\n".join(lines))  # noqa: T201
    return 0 if works else 1


def _measure(_given: argparse.Namespace) -> int:
    build = measure.measure()
    print(json.dumps(build.manifest, indent=1, sort_keys=True))  # noqa: T201
    print(f"fingerprint {build.fingerprint}", file=sys.stderr)  # noqa: T201
    return 0


def _run(given: argparse.Namespace) -> int:
    given.part = given.part or ["publisher", "vision"]
    log_to_stderr()
    sandbox.forbid_dumps()
    loaded = _load(given)
    build = _build(given, loaded)
    _demand_safety(given)
    if "vision" in given.part:
        keys.load(loaded.agent.key_file)
    log.info(
        "event=build build=%s production=%s safe=%s",
        build.fingerprint, build.production, not given.unsafe_development,
    )  # fmt: skip
    for module in loaded.declared.modules:
        if module.name in configuration.NOT_IN_THIS_BUILD:
            log.warning("event=module_not_in_this_build module=%s", module.name)
    supervised = [
        Supervised(name, _command(name, given), decoding.PERTURB)
        for name in ("publisher", "vision")
        if name in given.part
    ]
    return supervise(supervised)


def _command(name: str, given: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "edge_agent", name, "--config", str(given.config)]
    if given.operator_key:
        command += ["--operator-key", str(given.operator_key)]
    if given.unsafe_development:
        command += ["--unsafe-development"]
    return command


_COMMANDS = {
    "run": _run, "check": _check, "declare": _declare, "vision": _vision,
    "publisher": _publisher, "doctor": _doctor, "measure": _measure, "keygen": _keygen,
    "sign": _sign, "enrol": joining.enrol, "renew": joining.renew,
    "update": joining.update, "assistant": joining.assistant, "offer": joining.offer,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
