"""Columns for masks, occupancy, distance and objections."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = (
    ("masks_bound", sa.String(8)),
    ("masks_percent", sa.Integer),
    ("masks_unjudged", sa.Integer),
    ("occupancy_mean", sa.Integer),
    ("occupancy_level", sa.String(8)),
    ("under_1m", sa.String(8)),
    ("under_2m", sa.String(8)),
    ("mean_cm", sa.Integer),
    ("objections", sa.Integer),
)


def upgrade() -> None:
    """Add them, empty for what was said before there were any."""
    for name, kind in _COLUMNS:
        op.add_column("record", sa.Column(name, kind))


def downgrade() -> None:
    """What was said is never taken back."""
    raise NotImplementedError
