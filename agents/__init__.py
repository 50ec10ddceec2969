"""What happens: one thin file an agent. It takes a batch, calls pure code, and sends nothing itself."""
