"""The journal: every sealed record that was ever accepted or set aside, chained."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_START = hashlib.sha256(b"dizaine journal 1\n").hexdigest()


def upgrade() -> None:
    """Move sealed bytes to the journal, in the order of their arrival."""
    journal = op.create_table(
        "journal",
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("chain", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "declaration",
        sa.Column("device", sa.String(32), sa.ForeignKey("device.id"), primary_key=True),
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("added_s", sa.BigInteger, nullable=False),
    )
    connection = op.get_bind()
    chain, n = _START, 0
    for table, order in (("record", "id"), ("quarantine", "received_s")):
        found = connection.execute(
            sa.text(f"SELECT digest, sealed FROM {table} ORDER BY {order}")  # noqa: S608 - our names
        ).fetchall()
        for digest, sealed in found:
            n += 1
            chain = hashlib.sha256(bytes.fromhex(chain) + bytes(sealed)).hexdigest()
            row = {"n": n, "digest": digest, "chain": chain, "sealed": bytes(sealed)}
            connection.execute(sa.insert(journal).values(row))
        op.drop_column(table, "sealed")
    for column in (
        sa.Column("profile", sa.String(8), nullable=False, server_default="standard"),
        sa.Column("build", sa.String(16), nullable=False, server_default="0" * 16),
        sa.Column("development", sa.Boolean, nullable=False, server_default=sa.true()),
    ):
        op.add_column("record", column)


def downgrade() -> None:
    """A journal is never taken apart again."""
    raise NotImplementedError
