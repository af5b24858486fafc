"""Claims of devices that join, certificates given out, installations proposed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "claim",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("device", sa.String(32), nullable=False, index=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("declaration", sa.Text, nullable=False),
        sa.Column("configuration", sa.Text, nullable=False),
        sa.Column("signature", sa.String(128), nullable=False),
        sa.Column("until_s", sa.BigInteger, nullable=False),
        sa.Column("asked", sa.String(64), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
    )
    op.create_table(
        "certificate",
        sa.Column("serial", sa.String(40), primary_key=True),
        sa.Column("device", sa.String(32), nullable=False, index=True),
        sa.Column("ends_s", sa.BigInteger, nullable=False),
        sa.Column("revoked_s", sa.BigInteger),
    )
    op.create_table(
        "installation",
        sa.Column("device", sa.String(32), primary_key=True),
        sa.Column("at_s", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
