"""The Faust worker process: its log level, its port, and how it ends when it refuses to start.

Given to Faust as `faust.App(..., Worker=CandlewickWorker)`; `faust -A app worker` makes it.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, NoReturn

import faust

from app import exits
from app.observe.logs import CHATTY
from app.settings import SettingsError
from app.web.bind import check_port

#: What `faust worker` passes when `-l` is not given; then the setting `log.level` holds.
FAUST_DEFAULT_LEVEL = "WARN"


class CandlewickWorker(faust.Worker):
    """`faust.Worker` without its spinner, and with one line and exit code 3 for a refusal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.spinner = None
        # mode makes one warning of each `write`, so a `print` becomes several. The setting
        # `worker_redirect_stdouts=False` does not help: `faust worker` passes its own default.
        self.redirect_stdouts = False

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Let `-l LEVEL` win over the setting, as in every Faust application."""
        given = str(self.loglevel or FAUST_DEFAULT_LEVEL).upper()
        if given == FAUST_DEFAULT_LEVEL:
            return
        logger.setLevel(level)
        for name in CHATTY if level <= logging.DEBUG else ("faust",):
            logging.getLogger(name).setLevel(level)

    def _on_startup_end_spinner(self) -> None:
        """Faust prints here that it is ready; the engine logs it, and `/readyz` says it."""

    def execute_from_commandline(self) -> NoReturn:
        """Run until stopped.

        Exits with 3 and one line on standard error if the worker refuses to start or to go on
        (`RefusalError` anywhere in the chain of the error), else as Faust does.
        """
        try:
            if self.app.conf.web_enabled:
                check_port(self.app.conf.web_bind, self.app.conf.web_port)
            super().execute_from_commandline()
        except (exits.RefusalError, SettingsError) as error:
            refuse(error)
        except SystemExit as end:
            # Faust's `sys.exit(1)` while it handles the error: the error is its context.
            expected = exits.operator_error_in(end)
            if expected is None:
                raise
            refused = isinstance(expected, exits.RefusalError)
            refuse(expected, exits.REFUSED if refused else exits.FAILURE)


def refuse(error: BaseException, code: int = exits.REFUSED) -> NoReturn:
    """End this process with the error's message and an exit code, 3 unless told otherwise."""
    sys.stderr.write(f"candlewick worker: {error}\n")
    sys.stderr.flush()
    raise SystemExit(code)
