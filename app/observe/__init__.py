"""How the engine tells what it does: metrics, logs, health. Nothing here changes a result."""
