"""Dead letters as text that a terminal only shows and never obeys, and as JSON."""

from __future__ import annotations

import base64
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.cli.common import safe_text, table_lines
from app.contracts.forms import readable
from app.contracts.reasons import Reason, explain

if TYPE_CHECKING:
    from app.dead import DeadLetter

#: Bytes of a value that `show` dumps; `--raw` writes all of it.
DUMP_BYTES = 4096
#: Characters of a value, or of a reason, in a list.
LIST_CHARACTERS = 60
COLUMNS = ("WHEN (UTC)", "AGENT", "PLACE", "REASON", "CAME FROM", "BYTES", "VALUE")


def list_lines(found: Sequence[tuple[str, DeadLetter]]) -> list[str]:
    """Return the table of letters; values are cut to the terminal and can do nothing to it."""
    rows = [COLUMNS]
    for agent, letter in found:
        size = "null" if letter.value is None else str(len(letter.value))
        rows.append(
            (
                letter.append_time.replace("T", " ").removesuffix("Z"),
                agent,
                f"{letter.partition} {letter.offset}",
                reason_text(letter),
                source_text(letter),
                size,
                safe_text(readable(letter.value or b"")[:LIST_CHARACTERS])[:LIST_CHARACTERS],
            )
        )
    lines = table_lines(rows)
    if sys.stdout.isatty():
        width = max(80, shutil.get_terminal_size().columns)
        return [line[:width] for line in lines]
    return lines


def reason_text(letter: DeadLetter) -> str:
    """Return a letter's reason for a list; a sink's is as long as its store makes it."""
    whole = letter.reason if letter.sink is None else f"{letter.sink}: {letter.reason}"
    return safe_text(whole)[:LIST_CHARACTERS]


def meaning(letter: DeadLetter) -> Reason:
    """Return what a letter's reason means, and what mends it."""
    if letter.sink is None:
        return explain(letter.reason)
    name = safe_text(letter.sink)
    return Reason(
        f"the sink {name} will never take the record as it is; the words are its store's",
        f"see to what they say, then `candlewick sink replay {name} --from TIME` writes the record "
        "again, from its topic",
    )


def told_by(agent: str, letter: DeadLetter) -> dict[str, str]:
    """Return whose letter it is, for JSON."""
    return {"agent": agent} if letter.sink is None else {"agent": agent, "sink": letter.sink}


def source_text(letter: DeadLetter) -> str:
    """Return where a letter's record came from, `ticks 0 17`."""
    place = (letter.source_topic, letter.source_partition, letter.source_offset)
    return " ".join("?" if each is None else safe_text(str(each)) for each in place)


def letter_lines(letter: DeadLetter) -> list[str]:
    """Return all there is to know of a letter, for a terminal."""
    reason = meaning(letter)
    lines = [
        f"place      {letter.topic}, partition {letter.partition}, offset {letter.offset}",
        f"written    {letter.append_time}",
        f"came from  {source_text(letter)} (topic, partition, offset)",
        f"reason     {safe_text(letter.reason)}: {reason.means}",
        f"mend       {reason.mend}",
        "headers",
        *(f"  {safe_text(name)}: {safe_text(value)}" for name, value in letter.headers),
    ]
    if letter.value is None:
        return [*lines, "value      null"]
    text = readable(letter.value)
    form = "" if text == letter.value else " of MessagePack, here as JSON and as they are"
    lines.append(f"value      {len(letter.value):,} bytes{form}")
    shown = letter.value[:DUMP_BYTES]
    if letter.value:
        lines += ["", f"  {safe_text(text[:DUMP_BYTES])}", "", *hex_lines(shown)]
    if len(shown) < len(letter.value):
        lines.append(f"... the first {DUMP_BYTES:,} bytes; --raw writes all of them")
    return lines


def hex_lines(value: bytes) -> list[str]:
    """Return a hex dump: offset, 16 bytes, the same as ASCII with dots for the rest."""
    lines = []
    for start in range(0, len(value), 16):
        row = value[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{text}|")
    return lines


def letter_json(agent: str, letter: DeadLetter) -> dict[str, Any]:
    """Return a letter with its headers and what its reason means, for JSON."""
    reason = meaning(letter)
    headers = [
        {
            "name": name,
            "text": value.decode("utf-8", "replace"),
            "base64": base64.b64encode(value).decode(),
        }
        for name, value in letter.headers
    ]
    means = {"means": reason.means, "mend": reason.mend, "headers": headers}
    return told_by(agent, letter) | letter.to_json() | means
