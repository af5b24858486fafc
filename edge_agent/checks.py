"""What a technician looks at before anything runs: camera, floor, faces, light, broker, networks.

It opens the camera and counts nobody; what it says of faces is of thirty at least.
"""

import itertools
from collections.abc import Iterator

from edge_agent import config
from edge_agent.config import NOT_IN_THIS_BUILD, AgentConfig, ConfigError, Loaded
from edge_agent.core.ground import GroundError
from edge_agent.io import keys, mqtt
from edge_agent.io.light import Light
from edge_agent.measure import Build
from edge_agent.pixels.source import FacesWanted, SourceError, diagnose, open_source, suggest_view
from edge_agent.vision import faces_wanted, fitted

FACE_LOOKS = 200
FEWEST_FACES = 30
"""Faces seen, one a frame each, before anything is said of their size."""
FACE_PX = 24
"""Width of a face from which masks are judged as well as was measured."""


class CheckError(RuntimeError):
    """Something that counting needs is not there; the message is one line that says what to do."""


def look(loaded: Loaded, build: Build, name: str) -> Iterator[str]:
    """Yield a line for each thing that was looked at; `name` is what messages call the file.

    Raises:
        ConfigError: the configuration cannot be used.
        KeyFileError: the device's key cannot.
        LightError: the light cannot.
        CheckError: the camera or the broker cannot.
    """
    agent, declared = loaded.agent, loaded.declared
    yield f"build        {build.fingerprint}{'' if build.production else ' (development)'}"
    signed = "signed" if declared.signed else "not signed"
    yield f"declaration  {declared.fingerprint()} ({signed}, number {declared.number})"
    try:
        floor = fitted(agent.ground)
    except GroundError as error:
        raise ConfigError(f"{name}: ground: {error}") from None
    if floor:
        yield f"ground       ±{floor.expected_error_m:.2f} m"
    for module in declared.modules:
        missing = "; NOT in this build" if module.name in NOT_IN_THIS_BUILD else ""
        yield f"module       {module.name} from {module.start} to {module.end}{missing}"
    yield f"key          {keys.fingerprint(keys.load(agent.key_file).modulus)}"
    if agent.objection.light:
        Light(agent.objection.light, agent.objection.light_s).close()
        yield f"light        {agent.objection.light}"
    try:
        with open_source(agent.camera, agent.replay, agent.detector) as source:
            width, height = source.size
        yield f"camera       {width}x{height}"
        suits = suggest_view(agent.camera, agent.replay, agent.detector)
        if suits is not None and suits != agent.camera.view:
            yield f'view         set camera.view = "{suits}": that sees people here'
        if faces_wanted(declared):
            yield f"faces        {_faces(agent)}"
        mqtt.probe(agent.mqtt, agent.device)
        yield "broker       ok"
    except (SourceError, mqtt.MqttError) as error:
        raise CheckError(str(error)) from None


def _faces(agent: AgentConfig) -> str:
    """Return whether faces before the camera are large enough for masks and head shakes."""
    with open_source(
        agent.camera, agent.replay, agent.detector, faces=FacesWanted(masks=False)
    ) as source:
        width, height = source.size
        sizes = sorted(
            min(face.box.width * width, face.box.height * height)
            for observation in itertools.islice(source, FACE_LOOKS)
            for face in observation.faces
        )
    if len(sizes) < FEWEST_FACES:
        return "too few seen to tell; let people walk by, and check again"
    half_px = sizes[len(sizes) // 2]
    small = "; TOO SMALL for masks and head shakes: move the camera nearer"
    return f"half of them at least {half_px:.0f} pixels wide{small if half_px < FACE_PX else ''}"


def doctor(settings: config.Detector) -> tuple[list[str], bool]:
    """Return a line for each runtime and model, and whether all that is needed works."""
    findings = diagnose(settings)
    lines = [f"{'ok' if f.works else '--'}  {f.about:<28} {f.says}" for f in findings]
    # Runtimes that nobody chose may be absent.
    return lines, all(f.works for f in findings if not f.about.startswith("runtime "))
