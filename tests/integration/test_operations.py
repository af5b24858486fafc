"""What whoever runs the server needs: back-ups that restore, metrics, a doctor, a log."""

import gzip
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aggregator.__main__ import main
from aggregator.core.roles import Role
from aggregator.io.intake import Intake, Letter
from aggregator.store import backup
from aggregator.store.database import Database, DatabaseError
from deploy.local import load
from deploy.local.processes import free_port
from tests.conftest import BIN

ROOT = Path(__file__).parents[2]
START = datetime(2026, 1, 5, tzinfo=UTC)


def quiet(_table: str, _rows: int) -> None:
    return


def fill(database: Database) -> None:
    """Store a day, an account, a rule and a deed."""
    city = load.cameras(3, START, 1)
    secret, modulus = load.make_key()
    load.register(database, city, modulus, 0)
    intake = Intake(database, lambda: START + timedelta(days=3))
    for own in load.seal(secret, city, START, 96):
        intake.take([Letter(one.topic, one.payload) for one in own])
    with database.engine.begin() as connection:
        password = "a long enough password"
        database.accounts.set(connection, "marie", password, Role.OPERATOR, 0)
        database.trail.note(connection, 1, "marie", "signed-in")


def content(database: Database) -> dict[str, list[Any]]:
    with database.engine.connect() as connection:
        return {
            table.name: sorted(map(str, connection.execute(sa.select(table)).fetchall()))
            for table in backup.tables()
        }


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Database]:
    """Yield a database with something in every part."""
    database = Database(f"sqlite:///{tmp_path / 'full.db'}")
    fill(database)
    yield database
    database.close()


def test_a_backup_restores_into_either_engine_and_says_the_same(
    full: Database, url: str, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.gz"
    rows = backup.save(full.engine, saved, quiet)
    target = Database(url)
    assert backup.load(target.engine, saved, quiet) == rows
    assert content(target) == content(full)
    assert target.trail.check() == full.trail.check()
    assert list(target.journal.lines()) == list(full.journal.lines())
    # What comes next is numbered after what was restored.
    with target.engine.begin() as connection:
        number = target.alerts.silence(connection, _everywhere(), 0, 1, "marie")
        target.trail.note(connection, 2, "marie", "silenced", silence=number)
    again = tmp_path / "again.gz"
    backup.save(target.engine, again, quiet)
    assert again.stat().st_size > 0
    target.close()


def _everywhere() -> Any:
    from aggregator.core.rules import Where

    return Where()


def test_a_backup_of_a_server_that_is_writing_is_of_one_instant(
    full: Database, tmp_path: Path
) -> None:
    saved, later = tmp_path / "saved.gz", []

    def write(_table: str, _rows: int) -> None:
        if not later:
            with full.engine.begin() as connection:
                full.trail.note(connection, 5, "marie", "signed-in")
            later.append(True)

    backup_progress = backup._TOGETHER
    assert backup_progress > 0
    before = full.trail.check()[0]
    with full.engine.snapshot() as connection:
        connection.execute(sa.text("SELECT COUNT(*) FROM trail")).scalar()
        write("", 0)
        seen = connection.execute(sa.text("SELECT COUNT(*) FROM trail")).scalar()
    assert seen == before
    assert full.trail.check()[0] == before + 1
    backup.save(full.engine, saved, quiet)


@pytest.mark.parametrize("how", ["cut", "changed", "no end", "other", "text"])
def test_a_damaged_backup_restores_nothing(full: Database, tmp_path: Path, how: str) -> None:
    saved = tmp_path / "saved.gz"
    backup.save(full.engine, saved, quiet)
    lines = gzip.decompress(saved.read_bytes()).splitlines(keepends=True)
    match how:
        case "cut":
            saved.write_bytes(saved.read_bytes()[:-200])
        case "changed":
            lines[5] = lines[5].replace(b"a", b"b", 1)
            saved.write_bytes(gzip.compress(b"".join(lines)))
        case "no end":
            saved.write_bytes(gzip.compress(b"".join(lines[:-1])))
        case "other":
            lines[0] = b'{"dizaine-backup": 1, "revision": "9999"}\n'
            saved.write_bytes(gzip.compress(b"".join(lines)))
        case _:
            saved.write_text("hello")
    target = Database(f"sqlite:///{tmp_path / 'target.db'}")
    with pytest.raises(DatabaseError) as told:
        backup.load(target.engine, saved, quiet)
    assert "\n" not in str(told.value)
    assert target.registry.all() == []
    assert target.journal.end()[0] == 0
    target.close()


def test_a_restore_never_overwrites_and_a_backup_neither(full: Database, tmp_path: Path) -> None:
    saved = tmp_path / "saved.gz"
    backup.save(full.engine, saved, quiet)
    with pytest.raises(DatabaseError, match="not empty"):
        backup.load(full.engine, saved, quiet)
    with pytest.raises(DatabaseError, match="there already"):
        backup.save(full.engine, saved, quiet)


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    """Return a function that runs the administrator's command line."""
    config = tmp_path / "aggregator.toml"
    config.write_text(
        f'database = "sqlite:///{tmp_path}/city.db"\n[mqtt]\nport = {free_port()}\n'
        f"[web]\nport = {free_port()}\n"
    )

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "dizaine-aggregator", *arguments, "--config", str(config)], input=given,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    run.config = config  # type: ignore[attr-defined]
    return run


def test_the_command_line_backs_up_and_restores(configured: Any, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/city.db")
    fill(database)
    database.close()
    saved = configured("backup", "--out", str(tmp_path / "saved.gz"))
    assert saved.returncode == 0, saved.stderr
    refused = configured("restore", str(tmp_path / "saved.gz"))
    assert (refused.returncode, "not empty" in refused.stderr) == (2, True)
    text = configured.config.read_text().replace("city.db", "new.db")
    configured.config.write_text(text)
    restored = configured("restore", str(tmp_path / "saved.gz"))
    assert restored.returncode == 0, restored.stderr
    verified = configured("journal", "verify")
    assert "everything holds" in verified.stdout
    assert configured("trail", "verify").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (["users", "set", "marie", "--role", "operator"], "short\n", "at least 12 characters"),
        (["users", "set", "marie", "--role", "operator"], "", "needs a password"),
        (["users", "remove", "nobody"], "", "no such account"),
        (["stop", "bus-9", "--everything"], "", "no such device"),
        (["stop", "fleet", "--everything"], "", "command key"),
        (["restore", "/nope.gz"], "", "expected a back-up"),
        (["backup", "--out", "/nowhere/x.gz"], "", "cannot be written"),
        (["devices", "add", "fleet", "--site", "x", "--public-key", "/x"], "", "and not fleet"),
        (["devices", "move", "bus-9", "--site", "x"], "", "no such device"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    configured: Any, arguments: list[str], given: str, said: str
) -> None:
    done = configured(*arguments, given=given)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rules_are_checked_where_no_server_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.yaml"
    assert main(["rules", "check", str(rules)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    rules.write_text("rules: []\n")
    assert main(["rules", "check", str(rules)]) == 0
    assert "0 rules, 0 people: good" in capsys.readouterr().out


def test_the_doctor_names_what_is_missing(configured: Any) -> None:
    done = configured("doctor")
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert lines["database"].startswith("ok")
    assert lines["broker"].startswith("--")
    assert lines["commands"].startswith("--")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ('[mail]\nhost = "smtp.example"\nsecurity = "none"\nsender = "a@b.fr"', "starttls or tls"),
        ('[mail]\nhost = "localhost"\nuser = "x"\nsender = "a@b.fr"', "DIZAINE_MAIL_PASSWORD"),
        ('[sms]\nprovider = "pigeon"', "pigeon"),
        ('[sms]\nprovider = "smpp"\nhost = "x"\nsystem_id = "y"\nsender = "z"', "DIZAINE_SMS"),
        ('[amqp]\nurls = ["http://x"]', "DIZAINE_AMQP_PASSWORD"),
        ("[retention]\nalerts_days = 400", "alerts_days"),
        ('[commands]\nkey_file = "/nope.pem"', "no command key"),
    ],
)
def test_a_wrong_setting_stops_the_server_before_it_serves(
    configured: Any, section: str, said: str
) -> None:
    with configured.config.open("a") as config:
        config.write(section + "\n")
    done = configured("run")
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_secret_that_everybody_may_read_is_refused(configured: Any, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o644)
    with configured.config.open("a") as config:
        config.write(
            f'[mail]\nhost = "localhost"\nuser = "x"\nsender = "a@b.fr"\n'
            f'password_file = "{tmp_path}/password"\n'
        )
    done = configured("run")
    assert "everybody may read it" in done.stderr


@pytest.fixture
def measured(configured: Any, town: Any) -> Any:
    """Return a running server whose metrics can be asked for, and its log as JSON."""
    town.metrics_port = free_port()
    with town.aggregator_config.open("a") as config:
        config.write(f'[metrics]\nport = {town.metrics_port}\n[log]\nform = "json"\n')
    town.aggregator.start()
    return town


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def test_every_metric_on_the_dashboard_exists_and_none_counts_people(
    measured: Any, wait_until: Any
) -> None:
    ask(f"http://127.0.0.1:{measured.web_port}/healthz")
    url = f"http://127.0.0.1:{measured.metrics_port}/metrics"
    wait_until(lambda: "dizaine_open_alerts" in ask(url), 20, "metrics")
    there = {line.split()[2] for line in ask(url).splitlines() if line.startswith("# TYPE dizaine")}
    board = json.loads((ROOT / "deploy" / "grafana" / "dizaine.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"dizaine_\w+", target["expr"])
    }
    plain = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert {name.removesuffix("_total") for name in plain} <= {
        name.removesuffix("_total") for name in there
    }
    assert not any("passage" in name or "people" in name for name in there)


def test_the_log_is_json_where_that_is_asked_for(measured: Any, wait_until: Any) -> None:
    wait_until(lambda: "started" in measured.aggregator.log.read_text(), 10, "its start")
    lines = measured.aggregator.log.read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert "started" in {line.get("event") for line in told}
    assert {"at", "level", "from"} <= set(told[0])
