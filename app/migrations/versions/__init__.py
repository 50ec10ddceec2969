"""One file of SQL a version, and one that names it to alembic."""
