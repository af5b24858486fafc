"""The tables, the same on SQLite and PostgreSQL. `migrations/` brings a database to them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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
