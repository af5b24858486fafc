"""Devices, their lines, records, quarantine, refusals."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "device",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("site", sa.String(120), nullable=False),
        sa.Column("label", sa.String(120), nullable=False),
        sa.Column("added_s", sa.BigInteger, nullable=False),
        sa.Column("revoked_s", sa.BigInteger),
    )
    op.create_table(
        "scope",
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), primary_key=True),
        sa.Column("scope", sa.String(24), primary_key=True),
        sa.Column("label", sa.String(120), nullable=False),
    )
    op.create_table(
        "record",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), nullable=False),
        sa.Column("scope", sa.String(24), nullable=False),
        sa.Column("window_s", sa.BigInteger, nullable=False),
        sa.Column("window_min", sa.Integer, nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("covers", sa.Integer, nullable=False),
        sa.Column("forward", sa.Integer),
        sa.Column("backward", sa.Integer),
        sa.Column("total", sa.Integer),
        sa.Column("config", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("received_s", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("device", "scope", "window_s", name="one_record_per_window"),
    )
    op.create_index("record_by_window", "record", ["window_s"])
    op.create_table(
        "quarantine",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("received_s", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "refusal",
        sa.Column("reason", sa.String(32), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("last_s", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """There is nothing before the first step."""
    raise NotImplementedError
