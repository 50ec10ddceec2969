"""The tables of all flat topics, and the positions."""

from __future__ import annotations

from app.sinks.postgres_admin import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    run_sql(__file__)
