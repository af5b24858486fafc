"""`make bench-city`: how many signed records a worker stores, and how soon a page is there.

Every figure stands beside the limit that the same run measured on this machine: plain inserts of as
many rows, and signature checks alone. Devices and records come from `deploy.local.load`.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from starlette.requests import Request

from aggregator.config import AggregatorConfig, Web
from aggregator.io.ingest import MOST_TOGETHER
from aggregator.io.intake import Intake, Letter, Verifier
from aggregator.store import schema
from aggregator.store.database import Database
from aggregator.store.figures import Choice
from aggregator.web.days import Days
from aggregator.web.trends import Trends
from aggregator.web.visit import Site
from deploy.local import load
from deploy.local.processes import free_port
from edge_agent.wire import codec

BATCH = MOST_TOGETHER
BARS = {"sqlite": 1500, "postgresql": 3000}
PAGE_BAR_MS = 300
CAMERAS, DAYS = 200, 365


def say(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)


@contextmanager
def postgresql(folder: Path) -> Iterator[str | None]:
    """Yield the address of a PostgreSQL server of this run alone, where it is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        yield None
        return
    programs, store = found[-1].parent, folder / "postgresql"
    store.mkdir()
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        folder.chmod(0o755)
        shutil.chown(store, "postgres")
    port = free_port()

    def run(*command: Any) -> None:
        subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)

    run(*user, programs / "initdb", "-D", store / "data", "-U", "dizaine", "-A", "trust")
    control = [*user, programs / "pg_ctl", "-D", store / "data", "-w"]
    options = f"-p {port} -h 127.0.0.1 -k {store}"
    run(*control, "-o", options, "-l", store / "log", "start")
    yield f"postgresql+psycopg://dizaine@127.0.0.1:{port}/postgres"
    run(*control, "-m", "immediate", "stop")


def _later() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def take(url: str, letters: list[Letter]) -> float:
    """Verify and store letters as a worker does; return how many a second."""
    database = Database(url)
    intake = Intake(database, _later)
    began_s = time.perf_counter()
    for at in range(0, len(letters), BATCH):
        intake.take(letters[at : at + BATCH])
    rate = len(letters) / (time.perf_counter() - began_s)
    database.close()
    return rate


def _take_part(work: tuple[str, list[Letter]]) -> float:
    return take(*work)


def plain_inserts(url: str, count: int) -> float:
    """Return rows a second of one bare table, committed as often as a worker commits."""
    database = Database(url)
    metadata = sa.MetaData()
    bare = sa.Table("bare", metadata, sa.Column("digest", sa.String(64), primary_key=True),
                    sa.Column("sealed", sa.LargeBinary))  # fmt: skip
    rows = [{"digest": f"{n:064x}", "sealed": bytes(codec.SEALED_SIZE)} for n in range(count)]
    with database.engine.begin() as connection:
        metadata.create_all(connection)
    began_s = time.perf_counter()
    for at in range(0, count, BATCH):
        with database.engine.begin() as connection:
            connection.execute(sa.insert(bare), rows[at : at + BATCH])
    rate = count / (time.perf_counter() - began_s)
    with database.engine.begin() as connection:
        metadata.drop_all(connection)
    database.close()
    return rate


def verifications(modulus: bytes, letters: list[Letter]) -> float:
    """Return signature checks a second, and nothing else."""
    check = Verifier()
    unsealed = [codec.unseal(letter.payload) for letter in letters[:2000]]
    began_s = time.perf_counter()
    good = all(check(modulus, one.signature, one.signed) for one in unsealed)
    rate = len(unsealed) / (time.perf_counter() - began_s)
    if not good:
        raise SystemExit("a signature of our own did not hold")
    return rate


def fill_a_year(url: str) -> Database:
    """Fill a year of two hundred cameras: a pattern of records, and their sums.

    SQLite itself writes the rows; one camera's sums are made as the server makes them.
    """
    database = Database(url)
    start = load.midnight(DAYS)
    city = load.cameras(CAMERAS, start, DAYS)
    load.register(database, city, bytes([1]) * 384, 0)
    say(f"  writing {CAMERAS * DAYS * 96:,} records …")
    with database.engine.begin() as connection:
        connection.exec_driver_sql(_RECORDS, (96 * DAYS - 1, int(start.timestamp())))
    say("  adding them up …")
    table = schema.record
    one = sa.select(table).where(table.c.device == city[0].name).order_by(table.c.window_s)
    with database.engine.begin() as connection:
        rows = [dict(row._mapping) for row in connection.execute(one)]
        database.records.add_up(connection, rows)
        for sums in (schema.day_sum, schema.hour_sum):
            found = connection.execute(sa.select(sums)).fetchall()
            for camera in city[1:]:
                copies = [{**row._mapping, "device": camera.name} for row in found]
                connection.execute(sa.insert(sums), copies)
    return database


_RECORDS = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?),
p(i, status) AS (
  SELECT i, CASE WHEN i % 96 < 20 OR i % 96 > 88 THEN 'closed'
    WHEN i % 13 = 0 THEN 'low' ELSE 'ok' END FROM n)
INSERT INTO record (device, scope, window_s, window_min, status, covers, total, config, digest,
  profile, build, development, received_s)
SELECT d.id, 'main', ? + 900 * i, 15, status, 1,
  CASE WHEN status = 'ok' THEN 10 + 5 * (i % 17) END, '0123456789abcdef', d.id || '-' || i,
  'standard', '0123456789abcdef', 0, 0
FROM device d, p
"""


class _Nobody:
    """A visitor's browser that sends nothing."""

    def __init__(self, path: str, query: str = "") -> None:
        self.scope = {
            "type": "http", "method": "GET", "path": path, "query_string": query.encode(),
            "headers": [], "server": ("127.0.0.1", 80), "scheme": "http", "root_path": "",
        }  # fmt: skip


def pages(database: Database, url: str) -> list[tuple[str, float, int]]:
    """Return, for each page over the whole city, the median of its time at the server, and size."""
    config = AggregatorConfig(database=url, web=Web(public=True))
    site = Site(config, database, lambda: datetime.now(UTC))
    days, trends = Days(site), Trends(site)
    nobody = Choice()
    year_ago = datetime.now(UTC).date() - timedelta(days=364)
    today = datetime.now(UTC).date()
    compared = f"a_from={year_ago}&a_to={today}&b_from={year_ago}&b_to={today}"

    def visit(path: str, query: str = "") -> Any:
        return site.visit(Request(_Nobody(path, query).scope))

    todo: list[tuple[str, Callable[[], Any]]] = [
        ("hours of the week, 1 year", lambda: trends.hours(visit("/hours"), nobody)),
        ("compare, 1 year twice", lambda: trends.compare(visit("/compare", compared))),
        ("week", lambda: trends.week(visit("/week"), "", nobody)),
        ("day, all cameras", lambda: days.day(visit("/"), days.newest_day(), nobody)),
        ("day, one site", lambda: days.day(
            visit("/"), days.newest_day(), Choice(site="Bus 4"))),
        ("vehicles", lambda: trends.vehicles(visit("/vehicles"))),
        ("now", lambda: days.now(visit("/now"), nobody)),
    ]  # fmt: skip
    found = []
    for name, make in todo:
        times = []
        for _ in range(5):
            began_s = time.perf_counter()
            size = len(make().body)
            times.append(1000 * (time.perf_counter() - began_s))
        found.append((name, sorted(times)[2], size))
    return found


def raw_year(database: Database) -> float:
    """Return how long the same year takes without sums, in milliseconds."""
    table = schema.record
    query = sa.select(table.c.window_s / 86400, sa.func.sum(table.c.total)).group_by(sa.text("1"))
    began_s = time.perf_counter()
    with database.engine.connect() as connection:
        connection.execute(query).fetchall()
    return 1000 * (time.perf_counter() - began_s)


def main() -> int:
    """Print all figures; return 1 where one is below its bar."""
    parser = argparse.ArgumentParser(prog="make bench-city ARGS=…", description=__doc__)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--windows", type=int, default=48)
    parser.add_argument("--no-pages", action="store_true")
    given = parser.parse_args()
    below = []
    with tempfile.TemporaryDirectory(prefix="dizaine-bench-") as name:
        folder = Path(name)
        start = load.midnight(1) + timedelta(hours=7)
        city = load.cameras(given.devices, start, 2)
        say(f"signing what {given.devices} devices say in {given.windows} windows …")
        secret, modulus = load.make_key()
        began_s = time.perf_counter()
        sealed = load.seal(secret, city, start, given.windows)
        count = sum(map(len, sealed))
        say(f"  {count / (time.perf_counter() - began_s):,.0f} records/s signed on all cores")
        in_time = [o for group in itertools.zip_longest(*sealed) for o in group if o is not None]
        letters = [Letter(one.topic, one.payload) for one in in_time]
        checks = verifications(modulus, letters)
        say(f"  {checks:,.0f} signature checks/s on one core, the limit of a worker\n")
        with postgresql(folder) as postgres:
            urls = {"sqlite": f"sqlite:///{folder / 'city.db'}"}
            if postgres:
                urls["postgresql"] = postgres
            say(f"{'engine':<12}{'records/s':>11}{'bar':>8}{'plain inserts/s':>18}{'share':>8}")
            for engine, url in urls.items():
                limit = plain_inserts(url, min(count, 10_000))
                database = Database(url)
                load.register(database, city, modulus, 0)
                database.close()
                rate = take(url, letters)
                below += [engine] * (rate < BARS[engine])
                share = f"{100 * rate / limit:.0f} %"
                say(f"{engine:<12}{rate:>11,.0f}{BARS[engine]:>8,}{limit:>18,.0f}{share:>8}")
            if postgres:
                _two_workers(postgres, city, modulus, sealed)
            if not given.no_pages:
                below += _pages(f"sqlite:///{folder / 'year.db'}")
    if below:
        say(f"below the bar: {', '.join(below)}")
    return 1 if below else 0


def _two_workers(
    url: str, city: list[load.Camera], modulus: bytes, sealed: list[list[load.Sealed]]
) -> None:
    """Let two workers share the devices, on what is another empty database to them."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        schema.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
    engine.dispose()
    database = Database(url)
    load.register(database, city, modulus, 0)
    database.close()
    halves = [
        (url, [Letter(o.topic, o.payload) for own in sealed[n::2] for o in own]) for n in (0, 1)
    ]
    began_s = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_take_part, halves))
    total = sum(len(half[1]) for half in halves)
    rate = total / (time.perf_counter() - began_s)
    say(f"{'  two workers':<12}{rate:>10,.0f}   beside the database, on {os.cpu_count()} cores")


def _pages(url: str) -> list[str]:
    say(f"\npages over {DAYS} days and {CAMERAS} cameras, SQLite, at the server")
    database = fill_a_year(url)
    found = pages(database, url)
    say(f"{'page':<28}{'ms':>8}{'bar':>6}{'KB':>8}")
    for name, ms, size in found:
        say(f"{name:<28}{ms:>8.0f}{PAGE_BAR_MS:>6}{size / 1000:>8.0f}")
    say(f"{'(the year without sums)':<28}{raw_year(database):>8.0f}")
    database.close()
    return [name for name, ms, _ in found if ms > PAGE_BAR_MS]


if __name__ == "__main__":
    sys.exit(main())
