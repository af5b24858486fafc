"""New files, some of them secret: whole, or not there at all."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from aggregator.config import ConfigError

SECRET, OPEN = 0o600, 0o644
"""Who may read a file: its owner alone, or everybody."""


@contextmanager
def new_file(path: Path, mode: int = SECRET) -> Iterator[TextIO]:
    """Yield a file to write; it is taken at once, and gone again where its writer fails.

    Raises:
        ConfigError: a file is there already, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(f"{path}: a file is there already; choose another") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); choose another place"
            ) from None
        raise


def write_new(files: dict[Path, tuple[str, int]]) -> None:
    """Write files that belong together, each with its mode: all of them or none.

    Raises:
        ConfigError: one is there already, or cannot be written.
    """
    with ExitStack() as stack:
        made = [stack.enter_context(new_file(path, mode)) for path, (_, mode) in files.items()]
        for out, (text, _) in zip(made, files.values(), strict=True):
            out.write(text)
