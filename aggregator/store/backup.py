"""Back-up and restore: one file for either engine, whole or not there at all.

A back-up is gzipped JSON Lines: a head, a line a row, and a last line with the number of rows and
the SHA-256 of all lines before it. It can be restored into an empty database of the other engine,
so that it is also the way from SQLite to PostgreSQL.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aggregator.store import schema
from aggregator.store.engine import DatabaseError, Engine

FORMAT = 1
_LEFT_OUT = {"session"}
"""Nobody stays signed in over a restore."""
_TOGETHER = 1000


def tables() -> list[sa.Table]:
    """Return what is backed up, each after what it refers to."""
    return [t for t in schema.metadata.sorted_tables if t.name not in _LEFT_OUT]


def _revision(connection: sa.Connection) -> str:
    return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


def _plain(value: Any) -> Any:
    return {"hex": bytes(value).hex()} if isinstance(value, bytes | memoryview) else value


def _value(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def save(engine: Engine, path: Path, progress: Callable[[str, int], None]) -> int:
    """Write a back-up of one instant while the server goes on; return its number of rows.

    Raises:
        DatabaseError: the file is there already, or cannot be written.
    """
    if path.exists():
        raise DatabaseError(f"{path}: a file is there already; give another")
    part = path.with_name(f".{path.name}.part")
    digest, rows = hashlib.sha256(), 0
    try:
        with part.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as out:

            def write(line: str) -> None:
                data = f"{line}\n".encode()
                digest.update(data)
                out.write(data)

            with engine.snapshot() as connection:
                write(json.dumps({"dizaine-backup": FORMAT, "revision": _revision(connection)}))
                for table in tables():
                    order = list(table.primary_key)
                    found = connection.execute(sa.select(table).order_by(*order))
                    for row in found.yield_per(_TOGETHER):
                        write(json.dumps([table.name, *map(_plain, row)], ensure_ascii=False))
                        rows += 1
                        if rows % 10_000 == 0:
                            progress(table.name, rows)
            end = json.dumps({"rows": rows, "sha256": digest.hexdigest()})
            out.write(f"{end}\n".encode())
            out.close()
            raw.flush()
            os.fsync(raw.fileno())
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DatabaseError(f"{path}: cannot be written ({error.strerror})") from None
    return rows


def _lines(path: Path) -> Iterator[list[Any] | dict[str, Any]]:
    """Yield a back-up's lines; the last only if all before it are as they were written."""
    digest, rows = hashlib.sha256(), -1
    try:
        with gzip.open(path, "rb") as source:
            for line in source:
                told = json.loads(line)
                if isinstance(told, dict) and "sha256" in told:
                    if told != {"rows": rows, "sha256": digest.hexdigest()}:
                        raise DatabaseError(f"{path}: damaged; what it says is not what was saved")
                    yield told
                    return
                digest.update(line)
                rows += 1
                yield told
    except (OSError, EOFError, ValueError, gzip.BadGzipFile) as error:
        raise DatabaseError(f"{path}: expected a back-up: {error}") from None
    raise DatabaseError(f"{path}: incomplete; its end is missing")


def load(engine: Engine, path: Path, progress: Callable[[str, int], None]) -> int:
    """Restore a back-up into an empty database, all of it or nothing; return its number of rows.

    Raises:
        DatabaseError: it is no back-up, damaged, of another version, or the database is not empty.
    """
    by_name = {table.name: table for table in tables()}
    lines = _lines(path)
    head = next(lines, None)
    if not isinstance(head, dict) or head.get("dizaine-backup") != FORMAT:
        raise DatabaseError(f"{path}: expected a back-up of format {FORMAT}")
    count, ended = 0, False
    waiting: list[dict[str, Any]] = []
    with engine.begin() as connection:
        if head.get("revision") != _revision(connection):
            raise DatabaseError(
                f"{path}: of version {head.get('revision')}, and this is"
                f" {_revision(connection)}; restore with the program that made it, then upgrade"
            )
        if connection.scalar(sa.select(sa.func.count()).select_from(schema.device)):
            raise DatabaseError(f"{engine.name}: not empty; restore into a new database")
        connection.execute(sa.delete(schema.setting))
        current: sa.Table | None = None

        def flush() -> None:
            if current is not None and waiting:
                connection.execute(sa.insert(current), waiting)
                waiting.clear()

        for line in lines:
            if isinstance(line, dict):
                ended = True
                break
            table = by_name.get(line[0])
            if table is None or len(line) != len(table.c) + 1:
                raise DatabaseError(f"{path}: expected rows of this version, got {line[0]}")
            if table is not current or len(waiting) >= _TOGETHER:
                flush()
                current = table
            names = [column.name for column in table.c]
            waiting.append(dict(zip(names, map(_value, line[1:]), strict=True)))
            count += 1
            if count % 10_000 == 0:
                progress(line[0], count)
        flush()
        if not ended:
            raise DatabaseError(f"{path}: incomplete; its end is missing")
        engine.reset_counters(connection)
    return count
