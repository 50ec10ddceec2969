"""`python -m app.cli` is the `candlewick` command, also where the checkout is not installed."""

from __future__ import annotations

from app.cli import main

if __name__ == "__main__":
    main()
