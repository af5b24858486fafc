"""Whether a process may begin: the operator's signature, the build, and what is around it.

Whatever counts, shows or updates begins here, and so runs on the same terms.
"""

from pathlib import Path

from edge_agent import config, measure, surroundings
from edge_agent.config import ConfigError, Loaded
from edge_agent.io import keys
from edge_agent.measure import Build

OPERATOR_KEY = "operator.pub.pem"
_SIGNATURE_SUFFIX = ".sig"


class UnsafeError(RuntimeError):
    """The surroundings are not safe; one line a finding."""


def signature_of(path: Path) -> Path:
    """Return where the operator's signature of a configuration lies."""
    return path.with_name(path.name + _SIGNATURE_SUFFIX)


def load(path: Path, operator_key: Path | None = None) -> Loaded:
    """Read a configuration, and its operator's signature where there is one.

    Args:
        path: of the configuration.
        operator_key: the operator's public key; by default the one beside it.

    Raises:
        ConfigError: it cannot be used, or its signature is not the operator's.
        KeyFileError: the operator's public key cannot be used.
    """
    content = config.read(path)
    beside = signature_of(path)
    signed = beside.is_file()
    if signed:
        public = operator_key or path.with_name(OPERATOR_KEY)
        try:
            signature = bytes.fromhex(beside.read_text().strip())
        except (ValueError, OSError):
            signature = b""
        if not keys.is_signed(public, signature, content):
            raise ConfigError(
                f"{beside}: not the signature of {path.name} by {public}; sign it again with:"
                " dizaine-agent sign"
            )
    return config.parse(content, str(path), signed=signed)


def demand_build(path: Path, loaded: Loaded, *, unsafe: bool) -> Build:
    """Return what runs, if it may run like this.

    Raises:
        MeasureError: a production build that is not what was built.
        UnsafeError: a production build is asked for what it refuses.
    """
    build = measure.measure(models=loaded.agent.detector.models_dir)
    if build.production and unsafe:
        raise UnsafeError("--unsafe-development: a production build refuses it; leave it away")
    if build.production and not loaded.declared.signed:
        raise UnsafeError(
            f"{path}: not signed by the operator, and a production build takes no other;"
            " sign it with: dizaine-agent sign"
        )
    return build


def demand_safety(*, unsafe: bool) -> None:
    """Look at the surroundings.

    Raises:
        UnsafeError: they are not safe, and nobody allowed that.
    """
    found = [finding for finding in surroundings.examine() if not finding.safe]
    if found and not unsafe:
        lines = "\n".join(map(str, found))
        raise UnsafeError(
            f"{lines}\nnot started: put these right, or, to develop, add --unsafe-development"
        )
