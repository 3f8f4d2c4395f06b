"""The `atoll` command. `--help` imports neither the client nor the server."""


def main() -> int:
    """Run the command line; the exit code."""
    from atoll.cli import commands

    return commands.main()
