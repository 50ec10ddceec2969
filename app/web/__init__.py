"""What a worker serves on Faust's web port: tables, metrics, health. Loopback only."""
