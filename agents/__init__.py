"""What happens: one thin file an agent, which takes a batch and calls pure code."""
