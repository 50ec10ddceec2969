"""One connection to PostgreSQL: transactions, rows, positions. After an error it is of no use.

No await lasts longer than `Address.timeout` and some seconds: a statement has its time-out at the
server, and where that does not answer at all the socket is shut down, which ends every wait of
libpq. (Cancelling a task would not: psycopg then waits for the server to agree.)
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, NamedTuple

import psycopg

from app.sinks.driver import Place, SinkConflictError, SinkUnavailableError
from app.sinks.postgres_address import Address
from app.sinks.postgres_errors import connect_error, refusal, statement_error
from app.sinks.postgres_rows import RowsRefusedError
from app.sinks.postgres_tables import POSITIONS, REFUSED, Table, quoted

#: Seconds that the server has to say that a time-out is over.
_GRACE: Final = 2.0


class Kept(NamedTuple):
    """What the tables know of a partition.

    Attributes:
        next: all before it is in the tables; None where nothing is yet.
        writer: who may write it; `version` grows with each of its transactions, and when another
            takes over.
        topic_id: Kafka's id of the topic that the rows are from, where it is known.
    """

    next: int | None
    writer: str
    version: int
    topic_id: str | None


class Session:
    """A connection; not for several tasks at once."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], address: Address) -> None:
        self._connection = connection
        self.address = address
        self._positions = f"{quoted(address.schema)}.{quoted(POSITIONS)}"
        #: Tables that have their staging table in this connection.
        self._staged: set[str] = set()
        #: Those of them with rows of this transaction.
        self._filled: set[str] = set()
        self._late = False

    @classmethod
    async def connect(cls, address: Address) -> Session:
        """Connect, and agree on time-outs.

        Raises:
            SinkUnavailableError, SinkRefusesError: there is no connection.
        """
        try:
            connection = await psycopg.AsyncConnection.connect(
                address.conninfo, autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise connect_error(error, address.where, address.secrets) from None
        session = cls(connection, address)
        try:
            await session._agree()
        except BaseException:
            await session.close()
            raise
        return session

    async def _agree(self) -> None:
        milliseconds = max(1, round(self.address.timeout * 1_000))
        chosen = {
            "statement_timeout": milliseconds,
            "lock_timeout": max(1, milliseconds // 2),
            # A writer that stands still must not keep its successor from the positions.
            "idle_in_transaction_session_timeout": 2 * milliseconds,
            "work_mem": "32MB",
            # Of the times in COPY.
            "timezone": "UTC",
        }
        for name, value in chosen.items():
            await self.execute("SELECT set_config(%s, %s, false)", (name, str(value)))

    @property
    def usable(self) -> bool:
        """Whether it is open, as far as is known."""
        return not self._connection.closed and not self._connection.broken

    async def close(self) -> None:
        """Let go of the connection; the server undoes what is not committed."""
        with suppress(psycopg.Error, OSError):
            await self._connection.close()

    async def execute(
        self, statement: str, parameters: Sequence[Any] | None = None
    ) -> psycopg.AsyncCursor[Any]:
        """Run a statement.

        Raises:
            SinkUnavailableError, SinkRefusesError, RowsRefusedError: what its error means.
        """
        with self._step():
            return await self._connection.execute(statement.encode(), parameters)

    async def fetch(self, statement: str, parameters: Sequence[Any] | None = None) -> list[Any]:
        """Run a query and return its rows; errors as of `execute`."""
        cursor = await self.execute(statement, parameters)
        with self._step():
            return await cursor.fetchall()

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Bound what waits for the server, and say what its errors mean."""
        seconds = self.address.timeout + _GRACE
        timer = asyncio.get_running_loop().call_later(seconds, self._cut)
        try:
            yield
        except psycopg.Error as error:
            if self._late:
                text = f"{self.address.where} has not answered in {seconds:.0f} s"
                raise SinkUnavailableError(text) from None
            raise statement_error(error, self.address.where, self.address.secrets) from None
        finally:
            timer.cancel()

    def _cut(self) -> None:
        self._late = True
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as wire,
        ):
            wire.shutdown(socket.SHUT_RDWR)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit what is done within; on an error none of it is, and the connection is closed.

        Raises:
            SinkUnavailableError: also where the answer to the commit was lost.
        """
        self._filled.clear()
        try:
            await self.execute("BEGIN")
            yield
            cursor = await self.execute("COMMIT")
        except BaseException:
            await self.close()
            raise
        if cursor.statusmessage != "COMMIT":
            await self.close()
            raise SinkUnavailableError(f"{self.address.where} has not committed")

    async def stage(self, tables: Collection[Table]) -> None:
        """Make the staging tables that lack; outside of a transaction."""
        for table in tables:
            if table.name not in self._staged:
                await self.execute(table.staging_statement(self.address.schema))
                self._staged.add(table.name)

    async def put(self, table: Table, body: bytes) -> int:
        """Put rows, CSV, where they belong; return how many are new or newer.

        Raises:
            RowsRefusedError: none of them is written; the transaction goes on.
        """
        async with self._savepoint():
            await self._copy(table, body)
            cursor = await self.execute(table.put_statement(self.address.schema))
        return cursor.rowcount

    async def sift(self, table: Table, body: bytes) -> tuple[int, dict[int, str]]:
        """Put rows one by one at the server, which is slower than all at once.

        Returns:
            How many are new or newer, and why others are never taken, by their place in the body.

        Raises:
            RowsRefusedError: one of them is no row of such a table; none is written.
        """
        async with self._savepoint():
            await self._copy(table, body)
            await self.execute(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS {REFUSED.partition('.')[2]} "
                "(number bigint, code text) ON COMMIT DELETE ROWS"
            )
            await self.execute(f"TRUNCATE {REFUSED}")
            await self.execute(table.sift_statement(self.address.schema))
            found = dict(await self.fetch(f"SELECT number, code FROM {REFUSED}"))
        put = int(found.pop(-1))
        return put, {number: refusal(code) for number, code in found.items()}

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        """Undo what is done within where the server refuses rows; the transaction goes on."""
        await self.execute("SAVEPOINT put")
        try:
            yield
        except RowsRefusedError:
            await self.execute("ROLLBACK TO SAVEPOINT put")
            raise
        await self.execute("RELEASE SAVEPOINT put")

    async def _copy(self, table: Table, body: bytes) -> None:
        """Fill the staging table."""
        if table.name in self._filled:
            await self.execute(f"TRUNCATE {table.staging}")
        # Before it is: what is undone leaves its places, and where a row lies tells its number.
        self._filled.add(table.name)
        with self._step():
            async with (
                self._connection.cursor() as copying,
                copying.copy(table.copy_statement().encode()) as copy,
            ):
                await copy.write(body)

    async def claim(
        self, places: Collection[Place], deployment: str, writer: str, ids: Mapping[Place, str]
    ) -> dict[Place, int]:
        """Become the writer of partitions, once who moves them has ended its transaction.

        Args:
            ids: of the topics, where they are known.

        Returns: the versions of their positions.
        """
        chosen = sorted(places)
        async with self.transaction():
            rows = await self.fetch(
                f"INSERT INTO {self._positions} AS held "
                "(topic, partition, deployment, writer, version, topic_id) "
                "SELECT topic, partition, %s, %s, 1, topic_id FROM "
                "unnest(%s::text[], %s::integer[], %s::text[]) AS new (topic, partition, topic_id) "
                "ORDER BY topic, partition ON CONFLICT (topic, partition) DO UPDATE SET "
                "writer = excluded.writer, version = held.version + 1, changed = now(), "
                "topic_id = coalesce(held.topic_id, excluded.topic_id) "
                "RETURNING topic, partition, version",
                (deployment, writer, *_columns(chosen), [ids.get(each) for each in chosen]),
            )
        return {Place(topic, partition): version for topic, partition, version in rows}

    async def kept(self, places: Collection[Place]) -> dict[Place, Kept]:
        """Return what is known of partitions, and keep others from it until the transaction ends.

        Who has one at the moment is waited for.
        """
        rows = await self.fetch(
            "SELECT topic, partition, next, writer, version, topic_id "
            f"FROM {self._positions} JOIN unnest(%s::text[], %s::integer[]) "
            "AS wanted (topic, partition) USING (topic, partition) "
            f"ORDER BY topic, partition FOR UPDATE OF {quoted(POSITIONS)}",
            _columns(sorted(places)),
        )
        return {Place(*row[:2]): Kept(*row[2:]) for row in rows}

    async def move(self, positions: Mapping[Place, int]) -> None:
        """Say up to where the tables hold partitions; never less than before.

        Raises:
            SinkConflictError: a row of the positions is gone.
        """
        chosen = sorted(positions)
        cursor = await self.execute(
            f"UPDATE {self._positions} AS held SET next = greatest(held.next, new.next), "
            "version = held.version + 1, changed = now() "
            "FROM unnest(%s::text[], %s::integer[], %s::bigint[]) AS new (topic, partition, next) "
            "WHERE held.topic = new.topic AND held.partition = new.partition",
            (*_columns(chosen), [positions[each] for each in chosen]),
        )
        if cursor.rowcount != len(chosen):
            raise SinkConflictError(f"{self.address.where}: positions are gone from the tables")


def _columns(places: Sequence[Place]) -> tuple[list[str], list[int]]:
    return [each.topic for each in places], [each.partition for each in places]
