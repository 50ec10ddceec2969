"""`candlewick doctor`: what is there, what is missing, and the command that mends it.

What comes in: the machine, the environment, the settings, the broker. What goes out: findings. Only
looked at and asked, never written; quick, because what waits has a limit of its own.

Read the files in this order: `finding` (what a check says), `machine` (what is installed), `place`
(the settings, folders, port), `cluster` (the broker), `examine` (all of them).
"""

from app.doctor.examine import examine
from app.doctor.finding import Finding, Result

__all__ = ["Finding", "Result", "examine"]
