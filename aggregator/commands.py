"""Stop commands: signed here with the city's command key, obeyed by devices until lifted."""

from pathlib import Path
from typing import get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.config import AggregatorConfig, ConfigError
from aggregator.io.files import OPEN, SECRET, write_new
from aggregator.store.database import Database
from edge_agent.wire import codec
from edge_agent.wire.messages import Stop, Stoppable

MODULES: tuple[Stoppable, ...] = get_args(Stoppable)


class Commander:
    """Whoever holds the command key."""

    def __init__(self, config: AggregatorConfig, database: Database) -> None:
        """Read the key, where one is configured.

        Raises:
            ConfigError: it cannot be used.
        """
        self._database = database
        self._key = load_key(config.commands.key_file) if config.commands else None

    @property
    def has_key(self) -> bool:
        """Whether commands can be given at all."""
        return self._key is not None

    def stop(
        self,
        target: str,
        *,
        everything: bool,
        modules: tuple[Stoppable, ...],
        by: str,
        now_s: int,
    ) -> Stop:
        """Stop this at a target, too, beside what is stopped there already.

        Raises:
            ConfigError: there is no command key.
        """
        return self._command(target, everything, modules, by, now_s)

    def lift(self, target: str, *, by: str, now_s: int) -> Stop:
        """Lift all that is stopped for a target.

        Raises:
            ConfigError: there is no command key.
        """
        return self._command(target, everything=False, modules=None, by=by, now_s=now_s)

    def _command(
        self,
        target: str,
        everything: bool,
        modules: tuple[Stoppable, ...] | None,
        by: str,
        now_s: int,
    ) -> Stop:
        """Put a state in force (modules None: nothing is stopped), and write it into the trail."""
        if self._key is None:
            raise ConfigError(
                "commands.key_file: expected a command key; make one with:"
                " dizaine-aggregator command-key --out FILE"
            )
        with self._database.engine.begin() as connection:
            before = self._database.stops.newest(connection, target)
            if modules is not None:
                everything = everything or before.everything
                modules = tuple(m for m in MODULES if m in {*modules, *before.modules})
            command = Stop(
                target=target,
                number=before.number + 1,
                everything=everything,
                modules=modules or (),
            )
            sealed = codec.seal_stop(command, self._key.sign)
            self._database.stops.put(connection, command, sealed, by, now_s)
            self._database.trail.note(
                connection, now_s, by, "lifted" if modules is None else "stopped",
                target=target, number=command.number, everything=everything,
                modules=list(command.modules),
            )  # fmt: skip
        return command


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read a command key.

    Raises:
        ConfigError: it cannot be used.
    """
    hint = "make one with: dizaine-aggregator command-key --out FILE"
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"{path}: everybody may read this key; run: chmod o-rwx {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"{path}: no command key ({error.strerror}); {hint}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: expected a command key (Ed25519) in PEM; {hint}")
    return key


def make_key(path: Path) -> Path:
    """Make a command key and, beside it, the public half that devices are given; return that.

    Raises:
        ConfigError: a file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_suffix(".pub.pem")
    write_new({path: (secret.decode(), SECRET), beside: (public.decode(), OPEN)})
    return beside
