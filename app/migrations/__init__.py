"""The versions of the tables in PostgreSQL, each as plain SQL, run by alembic.

`versions/vNNNN_NAME.sql` is what a version changes; `vNNNN_NAME.py` beside it gives alembic its
number and that before it. What was released is never edited: another change is another version, and
`VERSION` in `app/sinks/postgres_tables.py` names the newest. Names in the SQL are without a schema:
the deployment's is the search path. `candlewick postgres migrate` runs what lacks, in one
transaction.
"""
