"""``python -m app.broker``: fetch and check what the embedded broker runs on, as set-up does."""

import sys

from app.broker import KAFKA_VERSION, BrokerError, ensure_jars, find_java


def main() -> int:
    """Return the exit code: 0, or 1 with one line on standard error."""
    try:
        java = find_java()
        jars = ensure_jars()
    except BrokerError as error:
        print(f"candlewick: {error}", file=sys.stderr)
        return 1
    print(f"Kafka {KAFKA_VERSION}: {len(jars)} jars checked in {jars[0].parent}, Java at {java}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
