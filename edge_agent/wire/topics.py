"""MQTT topics: one for each scope of a device (release rule R15), built and taken apart here alone.

``dizaine/1/DEVICE/record/SCOPE``  device to city: one sealed record
``dizaine/1/DEVICE/presence``      device to city: connected or not
``dizaine/1/DEVICE/health``        device to city: once a day, on itself
``dizaine/1/DEVICE/receipt``       city to device: what became of a record
``dizaine/1/DEVICE/stop``          city to device: what must not run; DEVICE may be ``fleet``
"""

from edge_agent.wire.messages import DeviceId, ScopeId

PREFIX = "dizaine/1"
ALL_RECORDS = f"{PREFIX}/+/record/+"
ALL_PRESENCE = f"{PREFIX}/+/presence"
ALL_HEALTH = f"{PREFIX}/+/health"


def record(device: DeviceId, scope: ScopeId) -> str:
    """Return the topic of a scope's records."""
    return f"{PREFIX}/{device}/record/{scope}"


def presence(device: DeviceId) -> str:
    """Return the topic of a device's presence."""
    return f"{PREFIX}/{device}/presence"


def health(device: DeviceId) -> str:
    """Return the topic of a device's daily word on itself."""
    return f"{PREFIX}/{device}/health"


def stop(target: DeviceId) -> str:
    """Return the topic of the stop commands for a device, or for the fleet."""
    return f"{PREFIX}/{target}/stop"


def receipt(device: DeviceId) -> str:
    """Return the topic of the receipts for a device."""
    return f"{PREFIX}/{device}/receipt"


def device_of(topic: str) -> str | None:
    """Return the device that a topic belongs to, or None where it is none of ours."""
    prefix = f"{PREFIX}/"
    if not topic.startswith(prefix):
        return None
    device, separator, _ = topic.removeprefix(prefix).partition("/")
    return device if device and separator else None
