"""Dead letters: the records an agent could not take, with the reason and where they came from.

What comes in: the topic `DEPLOYMENT.AGENT.dead`, a log that nothing is ever removed from before its
retention. What goes out: its letters, newest first or in their order, and, on request, the same or
mended bytes once more to the agent's source topic. What the sinks' stores never take is in
`DEPLOYMENT.sinks.dead` and read alike; `candlewick sink replay` writes it again.

Read the files in this order: `letters` (one letter, reading), `resend` (back to the source). What
each reason means is in `app/contracts/reasons.py`.
"""

from app.dead.letters import (
    DeadLetter,
    buriers,
    count_dead,
    dead_letter,
    dead_letters,
    dead_ranges,
    dead_topic,
    dead_topics,
    recent_dead,
)

__all__ = [
    "DeadLetter",
    "buriers",
    "count_dead",
    "dead_letter",
    "dead_letters",
    "dead_ranges",
    "dead_topic",
    "dead_topics",
    "recent_dead",
]
