"""A folder with a trained model: `model.ubj`, `report.json`, `report.html`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from app.training.pages import training_page

MODEL: Final = "model.ubj"
REPORT: Final = "report.json"
PAGE: Final = "report.html"


def write_training(folder: Path, model: bytes, report: dict[str, Any]) -> None:
    """Write the files; those of the same names are replaced, each as a whole.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    contents = {MODEL: model, PAGE: training_page(report).encode(), REPORT: text.encode()}
    folder.mkdir(parents=True, exist_ok=True)
    drafts = {name: folder / f".{name}.{os.getpid()}" for name in contents}
    try:
        for name, content in contents.items():
            drafts[name].write_bytes(content)
        for name, draft in drafts.items():
            draft.replace(folder / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
