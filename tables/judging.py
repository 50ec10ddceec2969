"""One pass over a batch of ordinary trades by the compiled module; None where it is missing.

It only finds out that there is nothing to judge. All else is judged by masks over columns
(tables/intake.py, tables/bars.py), which also know what to say of each record.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

#: `tables._judging`, or None.
compiled_judging: Any = None
try:
    from tables import _judging
except ImportError as error:
    logger.debug("no compiled judging: %s", error)
else:
    compiled_judging = _judging
