"""The Faust worker process: its log level, its port, and how it ends when it refuses to start.

Given to Faust as `faust.App(..., Worker=CandlewickWorker)`; `faust -A app worker` makes it.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, NoReturn

import faust

from app import __version__, exits
from app.observe.health import Phase
from app.observe.logs import CHATTY
from app.observe.masking import mask_text
from app.settings import SettingsError
from app.web.bind import check_port

#: What `faust worker` passes when `-l` is not given; then the setting `log.level` holds.
FAUST_DEFAULT_LEVEL = "WARN"

logger = logging.getLogger(__name__)


class CandlewickWorker(faust.Worker):
    """`faust.Worker` without its spinner, and with one line and exit code 3 for a refusal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.spinner = None
        # mode makes one warning of each `write`, so a `print` becomes several. The setting
        # `worker_redirect_stdouts=False` does not help: `faust worker` passes its own default.
        self.redirect_stdouts = False

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Let `-l LEVEL` win over the setting, as in every Faust application; say who starts."""
        given = str(self.loglevel or FAUST_DEFAULT_LEVEL).upper()
        if given != FAUST_DEFAULT_LEVEL:
            logger.setLevel(level)
            for name in CHATTY if level <= logging.DEBUG else ("faust",):
                logging.getLogger(name).setLevel(level)
        self._announce()

    def _announce(self) -> None:
        engine = getattr(self.app, "engine", None)
        if engine is not None:
            agents = sorted(stage.agent for stage in engine.stages.values())
            logger.info(
                "starting candlewick %s: %s", __version__, ", ".join(agents),
                extra={"version": __version__, "agents": agents},
            )  # fmt: skip

    def _on_startup_end_spinner(self) -> None:
        """Faust prints here that it is ready; the engine logs it, and `/readyz` says it."""

    def execute_from_commandline(self) -> NoReturn:
        """Run until stopped.

        Exits with 3 and one line on standard error if the worker refuses to start or to go on
        (`RefusalError` anywhere in the chain of the error), with 1 and a line if it could not
        publish all that it had taken in, else as Faust does.
        """
        try:
            if self.app.conf.web_enabled:
                # Asked again here: `--web-bind` and `--web-port` come after the settings.
                engine = getattr(self.app, "engine", None)
                opened = engine is not None and engine.settings.web.open_without_authentication
                check_port(self.app.conf.web_bind, self.app.conf.web_port, opened=opened)
            super().execute_from_commandline()
        except (exits.RefusalError, SettingsError) as error:
            self._refuse(error, exits.REFUSED)
        except SystemExit as end:
            # Faust's `sys.exit(1)` while it handles the error: the error is its context.
            expected = exits.operator_error_in(end) or self._unpublished
            if expected is None:
                raise
            refused = isinstance(expected, exits.RefusalError)
            self._refuse(expected, exits.REFUSED if refused else exits.FAILURE)

    @property
    def _unpublished(self) -> exits.OperatorError | None:
        """What an orderly stop could not publish."""
        text = getattr(getattr(self.app, "engine", None), "unpublished", None)
        return None if text is None else exits.OperatorError(text)

    def _refuse(self, error: BaseException, code: int) -> NoReturn:
        """End with the operator's line; in JSON logs also with an event that has its fields."""
        engine = getattr(self.app, "engine", None)
        if engine is not None and engine.settings.log.format == "json":
            fields = {"error": type(error).__name__, "exit_code": code}
            failed = [one for one in engine.health.report()["partitions"] if _is_failed(one)]
            if failed:
                fields |= {"agent": failed[0]["agent"], "partition": failed[0]["partition"]}
            # As text: the filter of refusals would take the error itself for mode's telling.
            logger.critical("%s", str(error), extra=fields)
        refuse(error, code)


def _is_failed(partition: dict[str, Any]) -> bool:
    return bool(partition["phase"] == Phase.FAILED)


def refuse(error: BaseException, code: int = exits.REFUSED) -> NoReturn:
    """End this process with the error's message and an exit code, 3 unless told otherwise."""
    sys.stderr.write(f"candlewick worker: {mask_text(str(error))}\n")
    sys.stderr.flush()
    raise SystemExit(code)
