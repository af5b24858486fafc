"""The tables, the same on SQLite and PostgreSQL. `migrations/` brings a database to them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from aggregator.core.rollup import NAMES

metadata = MetaData()

_ID = BigInteger().with_variant(Integer, "sqlite")

device = Table(
    "device",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("site", String(120), nullable=False),
    Column("label", String(120), nullable=False),
    Column("added_s", BigInteger, nullable=False),
    Column("revoked_s", BigInteger),
    Column("vehicle_line", String(120), nullable=False, server_default=""),
    Column("tags", String(400), nullable=False, server_default=""),
)

scope = Table(
    "scope",
    metadata,
    Column("device", String(32), ForeignKey("device.id"), primary_key=True),
    Column("scope", String(24), primary_key=True),
    Column("label", String(120), nullable=False),
)

record = Table(
    "record",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("device", String(32), ForeignKey("device.id"), nullable=False),
    Column("scope", String(24), nullable=False),
    Column("window_s", BigInteger, nullable=False),
    Column("window_min", Integer, nullable=False),
    Column("status", String(8), nullable=False),
    Column("covers", Integer, nullable=False),
    Column("forward", Integer),
    Column("backward", Integer),
    Column("total", Integer),
    Column("masks_bound", String(8)),
    Column("masks_percent", Integer),
    Column("masks_unjudged", Integer),
    Column("occupancy_mean", Integer),
    Column("occupancy_level", String(8)),
    Column("under_1m", String(8)),
    Column("under_2m", String(8)),
    Column("mean_cm", Integer),
    Column("objections", Integer),
    Column("config", String(16), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("profile", String(8), nullable=False),
    Column("build", String(16), nullable=False),
    Column("development", Boolean, nullable=False),
    Column("received_s", BigInteger, nullable=False),
    UniqueConstraint("device", "scope", "window_s", name="one_record_per_window"),
    Index("record_by_window", "window_s"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("device", String(32), ForeignKey("device.id"), nullable=False),
    Column("received_s", BigInteger, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("chain", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

declaration = Table(
    "declaration",
    metadata,
    Column("device", String(32), ForeignKey("device.id"), primary_key=True),
    Column("fingerprint", String(16), primary_key=True),
    Column("body", Text, nullable=False),
    Column("added_s", BigInteger, nullable=False),
)

refusal = Table(
    "refusal",
    metadata,
    Column("reason", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_s", BigInteger, nullable=False),
)

setting = Table(
    "setting",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)


def _sums() -> list[Column[int]]:
    """Return the columns of `core.rollup.Sums`."""
    return [Column(name, BigInteger, nullable=False) for name in NAMES]


# Both are kept in the order in which pages add them up: no page sorts a year.
day_sum = Table(
    "day_sum",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("device", String(32), ForeignKey("device.id"), primary_key=True),
    Column("scope", String(24), primary_key=True),
    *_sums(),
    Column("runs", BigInteger, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("newest_s", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

hour_sum = Table(
    "hour_sum",
    metadata,
    Column("month", Integer, primary_key=True, autoincrement=False),
    Column("cell", Integer, primary_key=True, autoincrement=False),
    Column("device", String(32), ForeignKey("device.id"), primary_key=True),
    Column("scope", String(24), primary_key=True),
    *_sums(),
    sqlite_with_rowid=False,
)

presence = Table(
    "presence",
    metadata,
    Column("device", String(32), ForeignKey("device.id"), primary_key=True),
    Column("state", String(8), nullable=False),
    Column("at_s", BigInteger, nullable=False),
    Column("fleet_stop", BigInteger, nullable=False),
    Column("own_stop", BigInteger, nullable=False),
)

health = Table(
    "health",
    metadata,
    Column("device", String(32), ForeignKey("device.id"), primary_key=True),
    Column("day", Integer, nullable=False),
    Column("config", String(16), nullable=False),
    Column("build", String(16), nullable=False),
    Column("confined", Boolean, nullable=False),
    Column("certificate_ends", Integer),
    Column("latency", Boolean, nullable=False),
    Column("kept_up", Boolean, nullable=False),
    Column("disk", Boolean, nullable=False),
    Column("clock", Boolean, nullable=False),
    Column("received_s", BigInteger, nullable=False),
)

stop = Table(
    "stop",
    metadata,
    Column("target", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("everything", Boolean, nullable=False),
    Column("modules", String(200), nullable=False),
    Column("by", String(80), nullable=False),
    Column("at_s", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

rulebook = Table(
    "rulebook",
    metadata,
    Column("n", _ID, primary_key=True, autoincrement=True),
    Column("body", Text, nullable=False),
    Column("by", String(80), nullable=False),
    Column("at_s", BigInteger, nullable=False),
)

alert_state = Table(
    "alert_state",
    metadata,
    Column("rule", String(40), primary_key=True),
    Column("device", String(32), primary_key=True),
    Column("scope", String(24), primary_key=True),
    Column("fingerprint", String(16), nullable=False),
    Column("pending", Integer, nullable=False),
    Column("since_s", BigInteger, nullable=False),
    Column("seen_s", BigInteger, nullable=False),
    Column("firing", Boolean, nullable=False),
    Column("quiet_until_s", BigInteger, nullable=False),
)

alert = Table(
    "alert",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("rule", String(40), nullable=False),
    Column("measure", String(20), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("device", String(32), nullable=False),
    Column("scope", String(24), nullable=False),
    Column("site", String(120), nullable=False),
    Column("label", String(120), nullable=False),
    Column("opened_s", BigInteger, nullable=False),
    Column("since_s", BigInteger, nullable=False),
    Column("until_s", BigInteger, nullable=False),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    Column("sure", Boolean, nullable=False),
    Column("state", String(8), nullable=False),
    Column("ended_s", BigInteger),
    Column("notified_s", BigInteger),
    Column("end_told_s", BigInteger),
    Column("reminded_s", BigInteger),
    Column("escalated_s", BigInteger),
    Column("taken_s", BigInteger),
    Column("taken_by", String(80)),
    Index("alert_by_state", "state", "opened_s"),
)

followup = Table(
    "followup",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("alert", BigInteger, ForeignKey("alert.id", ondelete="CASCADE"), nullable=False),
    Column("at_s", BigInteger, nullable=False),
    Column("by", String(80), nullable=False),
    Column("seen", String(20), nullable=False),
    Column("done", String(20), nullable=False),
)

silence = Table(
    "silence",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("place", Text, nullable=False),
    Column("from_s", BigInteger, nullable=False),
    Column("until_s", BigInteger, nullable=False),
    Column("by", String(80), nullable=False),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("key", String(160), nullable=False, unique=True),
    Column("alert", BigInteger),
    Column("occasion", String(10), nullable=False),
    Column("channel", String(8), nullable=False),
    Column("person", String(40), nullable=False),
    Column("address", String(254), nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_s", BigInteger, nullable=False),
    Column("worker", String(40), nullable=False),
    Column("reference", String(120), nullable=False),
    Column("why", String(200), nullable=False),
    Column("created_s", BigInteger, nullable=False),
    Column("done_s", BigInteger),
    Index("delivery_by_state", "state", "next_s"),
)

account = Table(
    "account",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("password", String(200), nullable=False),
    Column("role", Integer, nullable=False),
    Column("added_s", BigInteger, nullable=False),
)

claim = Table(
    "claim",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("device", String(32), nullable=False, index=True),
    Column("key", LargeBinary, nullable=False),
    Column("place", Text, nullable=False),
    Column("declaration", Text, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("signature", String(128), nullable=False),
    Column("until_s", BigInteger, nullable=False),
    Column("asked", String(64), nullable=False),
    Column("answer", Text, nullable=False),
)

certificate = Table(
    "certificate",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("device", String(32), nullable=False, index=True),
    Column("ends_s", BigInteger, nullable=False),
    Column("revoked_s", BigInteger),
)

installation = Table(
    "installation",
    metadata,
    Column("device", String(32), primary_key=True),
    Column("at_s", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

session = Table(
    "session",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("account", String(80), nullable=False),
    Column("role", Integer, nullable=False),
    Column("form", String(64), nullable=False),
    Column("until_s", BigInteger, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("token", String(64), nullable=False, unique=True),
    Column("by", String(80), nullable=False),
    Column("added_s", BigInteger, nullable=False),
    Column("until_s", BigInteger, nullable=False),
)

trail = Table(
    "trail",
    metadata,
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("at_s", BigInteger, nullable=False),
    Column("who", String(80), nullable=False),
    Column("act", String(40), nullable=False),
    Column("what", Text, nullable=False),
    Column("before", String(64), nullable=False),
    Column("chain", String(64), nullable=False),
)
