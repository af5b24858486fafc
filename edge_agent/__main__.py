"""`dizaine-agent`: what runs on a device."""

import argparse
import contextlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent import admission, joining, measure, sandbox, surroundings
from edge_agent import config as configuration
from edge_agent.admission import UnsafeError
from edge_agent.config import AgentConfig, ConfigError, Loaded
from edge_agent.io import clock, keys, packets
from edge_agent.io.identity import IdentityError
from edge_agent.io.keys import KeyFileError
from edge_agent.io.light import Light, LightError
from edge_agent.io.preview_link import Shown
from edge_agent.io.process import log_to_stderr
from edge_agent.measure import Build, MeasureError
from edge_agent.pixels import keeper as decoding
from edge_agent.supervisor import BEGIN_ANEW, CANNOT_START, WRONG_INPUT, Supervised, supervise

log = logging.getLogger("edge_agent")

LONGEST_REASON = 400
TRY_AGAIN = 1


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status: 2 where the input is wrong."""
    log.addHandler(logging.NullHandler())
    words = sys.argv[1:] if argv is None else argv
    given = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        return _COMMANDS[given.command](given)
    except (ConfigError, IdentityError, KeyFileError, LightError, MeasureError, UnsafeError,
            sandbox.SandboxError) as error:  # fmt: skip
        if given.command in ("vision", "publisher", "preview"):
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
        help=f"the operator's public key (default: {admission.OPERATOR_KEY} beside it)",
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
        ("assistant", "serve the installation page on this device's own link, for a limited time"),
        ("preview", "only the process that owns the camera while the assistant is open"),
    ):
        own = commands.add_parser(name, parents=[shared], help=text, description=text)
        if name == "assistant":
            joining.add_assistant_options(own)
        if name == "preview":
            own.add_argument(
                "--share", type=int, nargs=2, required=True, metavar=("MEMORY", "ORDERS"),
                help="descriptors that the assistant starts it with",
            )  # fmt: skip
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
    beside = admission.signature_of(given.config)
    beside.write_text(keys.sign_as_operator(given.key, content).hex() + "\n")
    print(beside)  # noqa: T201
    return 0


def _load(given: argparse.Namespace) -> Loaded:
    return admission.load(given.config, given.operator_key)


def _admit(given: argparse.Namespace) -> tuple[Loaded, Build]:
    """Return the configuration and the build, if the one may run with the other like this."""
    loaded = _load(given)
    return loaded, admission.demand_build(given.config, loaded, unsafe=given.unsafe_development)


def _begin(given: argparse.Namespace) -> tuple[Loaded, Build]:
    """Begin as a process that starts others, where that is safe."""
    log_to_stderr()
    sandbox.forbid_dumps()
    admitted = _admit(given)
    admission.demand_safety(unsafe=given.unsafe_development)
    return admitted


def _begin_part(given: argparse.Namespace) -> tuple[Loaded, Build]:
    """Begin as one of those others, who ends with whoever started it."""
    sandbox.die_with_parent()
    sandbox.forbid_dumps()
    log_to_stderr()
    return _admit(given)


def _confine(given: argparse.Namespace, needs: sandbox.Needs) -> None:
    why = sandbox.confine(needs, lenient=given.unsafe_development)
    if why:
        log.warning("event=not_confined why=%r", why)


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
    loaded, build = _begin_part(given)
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


def _preview(given: argparse.Namespace) -> int:
    """Begin as preview: in the same steps as vision, and without a key."""
    agent = _begin_part(given)[0].agent
    try:
        shown = Shown(*given.share)
    except (OSError, ValueError):
        raise ConfigError("--share: expected what the assistant passes; run that") from None
    keeper = decoding.Keeper(
        decoding.order(agent.camera, agent.replay, lenient=given.unsafe_development)
    )
    _confine(given, sandbox.Needs(devices=sandbox.accelerator(agent.detector.runtime)))
    from edge_agent import preview  # noqa: PLC0415
    from edge_agent.pixels.preview import SourceError  # noqa: PLC0415

    try:
        preview.run(agent, keeper, shown)
    except SourceError as error:
        log.error("event=cannot_look why=%r", str(error))  # noqa: TRY400
    return TRY_AGAIN


def _assistant(given: argparse.Namespace) -> int:
    from edge_agent.installation import assistant  # noqa: PLC0415 - it loads the network

    loaded, _ = _begin(given)
    return assistant.run(given, loaded, _command("preview", given))


def _publisher(given: argparse.Namespace) -> int:
    from edge_agent import publisher  # noqa: PLC0415 - vision must not even load the network
    from edge_agent.io.mqtt import MqttError  # noqa: PLC0415

    loaded, build = _begin_part(given)
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
    if not os.environ.items() >= sandbox.PERTURB.items():
        # It opens the camera in this process, and glibc reads this only as a program begins.
        again = [sys.executable, "-m", "edge_agent", *given.words]
        os.execve(again[0], again, {**os.environ, **sandbox.PERTURB})  # noqa: S606
    from edge_agent import checks  # noqa: PLC0415 - no other process needs what it looks at

    findings = surroundings.examine()
    print("\n".join(map(str, findings)))  # noqa: T201
    loaded, build = _admit(given)
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
    loaded, build = _begin(given)
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
        Supervised(name, _command(name, given), sandbox.PERTURB, _passed_to(name))
        for name in ("publisher", "vision")
        if name in given.part
    ]
    return supervise(supervised)


def _passed_to(name: str) -> tuple[int, ...]:
    """Return the socket that a service manager listens on: vision's, however often it begins."""
    passed = os.environ.get("LISTEN_FDS") == "1" and name == "vision"
    return (packets.FIRST_PASSED,) if passed else ()


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
    "update": joining.update, "assistant": _assistant, "preview": _preview, "offer": joining.offer,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
