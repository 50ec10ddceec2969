"""A report folder: `index.html`, `index.json`, and for each symbol and day a page and a JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from app.feeds.source import Source
from app.profile.document import document
from app.profile.pages import Pages, file_stem
from app.profile.pictures import pictures
from app.profile.profiling import profiles
from app.profile.reading import records
from tables.markets import Instruments
from tables.quality import QualityConfiguration

INDEX: Final = "index"


def write_report(
    source: Source,
    out: Path,
    instruments: Instruments,
    configuration: QualityConfiguration,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write the report of a source's files to a folder; the index, as in `index.json`.

    Raises:
        FeedError: a file is broken; nothing is written then.
        OSError: the folder cannot be written.
    """
    total = source.verify()
    out.mkdir(parents=True, exist_ok=True)
    pages, days = Pages(), []
    for profile in profiles(
        records(source),
        source.kind == "quotes",
        instruments,
        configuration,
        lambda done: progress(done, total),
    ):
        report = document(profile)
        stem = file_stem(profile.symbol, profile.day.identifier)
        _write_json(out / f"{stem}.json", report)
        page = pages.day(report, pictures(profile), configuration.completeness)
        (out / f"{stem}.html").write_text(page, encoding="utf-8")
        summary = report["summary"]
        days.append(
            {
                "symbol": report["symbol"],
                "session": report["session"],
                "file": stem,
                "records": report["records"],
                "flagged": report["flagged"],
                "completeness": summary and summary["completeness"],
                "longest_gap": summary and summary["longest_gap"],
                "events": report["events"],
            }
        )
    days.sort(key=lambda each: (each["symbol"], each["session"]))
    index = {
        "kind": source.kind,
        "records": sum(each["records"] for each in days),
        "goal": configuration.completeness,
        "files": [
            {"path": str(file.path), "rows": facts.rows, "ordered": facts.ordered}
            for file, facts in zip(source.files, source.facts, strict=True)
        ],
        "skipped": [{"path": str(each.path), "reason": each.reason} for each in source.skipped],
        "left_out": source.left_out,
        "days": days,
    }
    _write_json(out / f"{INDEX}.json", index)
    (out / f"{INDEX}.html").write_text(pages.index(index), encoding="utf-8")
    return index


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
