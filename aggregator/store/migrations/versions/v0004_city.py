"""The city's side: sums, alerts, deliveries, accounts, stops, the audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_SUMS = (
    "said",
    "forward",
    "backward",
    "directed",
    "batches",
    "minutes",
    "low",
    "covered",
    "defect",
    "closed",
    "masks_low",
    "masks_high",
    "masks_n",
    "people",
    "people_n",
    "distance_cm",
    "distance_n",
    "near_low",
    "near_high",
    "near_n",
)
KEPT_S = 366 * 86_400
"""Entries of the trail younger than this can be deleted by nobody, and none is ever changed."""


def upgrade() -> None:
    """Create them; sums of what is stored already are made when the database is opened."""
    for name in ("vehicle_line", "tags"):
        size = 120 if name == "vehicle_line" else 400
        column = sa.Column(name, sa.String(size), nullable=False, server_default="")
        op.add_column("device", column)
    op.create_table(
        "setting",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "day_sum",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), primary_key=True),
        sa.Column("scope", sa.String(24), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sa.Column("runs", sa.BigInteger, nullable=False),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("newest_s", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "hour_sum",
        sa.Column("month", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("cell", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), primary_key=True),
        sa.Column("scope", sa.String(24), primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "presence",
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), primary_key=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("at_s", sa.BigInteger, nullable=False),
        sa.Column("fleet_stop", sa.BigInteger, nullable=False),
        sa.Column("own_stop", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "health",
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), primary_key=True),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("config", sa.String(16), nullable=False),
        sa.Column("build", sa.String(16), nullable=False),
        sa.Column("confined", sa.Boolean, nullable=False),
        sa.Column("certificate_ends", sa.Integer),
        sa.Column("latency", sa.Boolean, nullable=False),
        sa.Column("kept_up", sa.Boolean, nullable=False),
        sa.Column("disk", sa.Boolean, nullable=False),
        sa.Column("clock", sa.Boolean, nullable=False),
        sa.Column("received_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "stop",
        sa.Column("target", sa.String(32), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("everything", sa.Boolean, nullable=False),
        sa.Column("modules", sa.String(200), nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("at_s", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "rulebook",
        sa.Column("n", _ID, primary_key=True, autoincrement=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("at_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "alert_state",
        sa.Column("rule", sa.String(40), primary_key=True),
        sa.Column("device", sa.String(32), primary_key=True),
        sa.Column("scope", sa.String(24), primary_key=True),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("pending", sa.Integer, nullable=False),
        sa.Column("since_s", sa.BigInteger, nullable=False),
        sa.Column("seen_s", sa.BigInteger, nullable=False),
        sa.Column("firing", sa.Boolean, nullable=False),
        sa.Column("quiet_until_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "alert",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("rule", sa.String(40), nullable=False),
        sa.Column("measure", sa.String(20), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("device", sa.String(32), nullable=False),
        sa.Column("scope", sa.String(24), nullable=False),
        sa.Column("site", sa.String(120), nullable=False),
        sa.Column("label", sa.String(120), nullable=False),
        sa.Column("opened_s", sa.BigInteger, nullable=False),
        sa.Column("since_s", sa.BigInteger, nullable=False),
        sa.Column("until_s", sa.BigInteger, nullable=False),
        sa.Column("low", sa.Float, nullable=False),
        sa.Column("high", sa.Float, nullable=False),
        sa.Column("sure", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("ended_s", sa.BigInteger),
        sa.Column("notified_s", sa.BigInteger),
        sa.Column("end_told_s", sa.BigInteger),
        sa.Column("reminded_s", sa.BigInteger),
        sa.Column("escalated_s", sa.BigInteger),
        sa.Column("taken_s", sa.BigInteger),
        sa.Column("taken_by", sa.String(80)),
    )
    op.create_index("alert_by_state", "alert", ["state", "opened_s"])
    op.create_table(
        "followup",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column(
            "alert", sa.BigInteger, sa.ForeignKey("alert.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("at_s", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("seen", sa.String(20), nullable=False),
        sa.Column("done", sa.String(20), nullable=False),
    )
    op.create_table(
        "silence",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("from_s", sa.BigInteger, nullable=False),
        sa.Column("until_s", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String(80), nullable=False),
    )
    op.create_table(
        "delivery",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(160), nullable=False, unique=True),
        sa.Column("alert", sa.BigInteger),
        sa.Column("occasion", sa.String(10), nullable=False),
        sa.Column("channel", sa.String(8), nullable=False),
        sa.Column("person", sa.String(40), nullable=False),
        sa.Column("address", sa.String(254), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_s", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.String(40), nullable=False),
        sa.Column("reference", sa.String(120), nullable=False),
        sa.Column("why", sa.String(200), nullable=False),
        sa.Column("created_s", sa.BigInteger, nullable=False),
        sa.Column("done_s", sa.BigInteger),
    )
    op.create_index("delivery_by_state", "delivery", ["state", "next_s"])
    op.create_table(
        "account",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("password", sa.String(200), nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("added_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "session",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(80), nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("form", sa.String(64), nullable=False),
        sa.Column("until_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_key",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("token", sa.String(64), nullable=False, unique=True),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("added_s", sa.BigInteger, nullable=False),
        sa.Column("until_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "trail",
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_s", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(80), nullable=False),
        sa.Column("act", sa.String(40), nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("before", sa.String(64), nullable=False),
        sa.Column("chain", sa.String(64), nullable=False),
    )
    _seal_trail()


def _seal_trail() -> None:
    """Have the database itself refuse to change the trail."""
    if op.get_bind().dialect.name == "sqlite":
        refuse = "BEGIN SELECT RAISE(ABORT, 'the audit trail cannot be edited'); END"
        op.execute(f"CREATE TRIGGER trail_fixed BEFORE UPDATE ON trail {refuse}")
        op.execute(
            "CREATE TRIGGER trail_kept BEFORE DELETE ON trail"
            f" WHEN OLD.at_s > CAST(strftime('%s', 'now') AS INTEGER) - {KEPT_S} {refuse}"
        )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION trail_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF TG_OP = 'DELETE' THEN"
        f"  IF OLD.at_s <= EXTRACT(EPOCH FROM now()) - {KEPT_S} THEN RETURN OLD; END IF;"
        " END IF;"
        " RAISE EXCEPTION 'the audit trail cannot be edited'; END $$"
    )
    op.execute(
        "CREATE TRIGGER trail_fixed BEFORE UPDATE OR DELETE ON trail"
        " FOR EACH ROW EXECUTE FUNCTION trail_refuse()"
    )
    op.execute(
        "CREATE TRIGGER trail_whole BEFORE TRUNCATE ON trail"
        " FOR EACH STATEMENT EXECUTE FUNCTION trail_refuse()"
    )


def downgrade() -> None:
    """What staff did is never forgotten by a step back."""
    raise NotImplementedError
