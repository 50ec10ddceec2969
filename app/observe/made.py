"""Files that are made from code: written, or compared with what the code says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_or_compare(
    files: Mapping[Path, str],
    root: Path,
    *,
    program: str,
    description: str | None,
    arguments: Sequence[str] | None,
) -> int:
    """Compare files with what should stand in them, or write them; return the exit code.

    Args:
        files: text by path.
        root: paths are told from here.
        program, description: of the command.
        arguments: `--write`, or none; those of the process where it is None.
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--write", action="store_true", help="write what differs")
    write = parser.parse_args(arguments).write
    differing = [
        (path, text)
        for path, text in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in differing:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{'written' if write else 'differs'}: {path.relative_to(root)}")
    return int(bool(differing) and not write)
