"""`candlewick completion`: what a shell needs to complete commands, options and their choices.

click has all of it; its variable `_CANDLEWICK_COMPLETE` begins with an underscore, so that it is
no unknown setting.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "candlewick"
VARIABLE = "_CANDLEWICK_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL: commands, options and choices by the Tab key.

    \b
    Example, for bash (4.4 or newer); in ~/.bashrc it holds for every start:
      eval "$(candlewick completion bash)"
    zsh, in ~/.zshrc behind compinit:
      eval "$(candlewick completion zsh)"
    fish, once:
      candlewick completion fish > ~/.config/fish/completions/candlewick.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, f"click completes {shell}"
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, PROGRAM, VARIABLE).source())
