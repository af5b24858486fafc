"""Who may do what. A role includes those before it."""

from enum import IntEnum


class Role(IntEnum):
    """Four roles, each with all that the one before it may do."""

    PUBLIC = 0
    """Sees the public page, where the city has switched it on."""
    ANALYST = 1
    """Reads dashboards, the fleet, exports."""
    OPERATOR = 2
    """Takes alerts, writes the register, silences, stops modules and devices."""
    ADMINISTRATOR = 3
    """Changes rules, accounts and keys."""


def role(name: str) -> Role:
    """Return the role of a name.

    Raises:
        ValueError: there is no such role.
    """
    try:
        return Role[name.upper()]
    except KeyError:
        known = ", ".join(r.name.lower() for r in Role if r is not Role.PUBLIC)
        raise ValueError(f"expected one of {known}, got {name}") from None
