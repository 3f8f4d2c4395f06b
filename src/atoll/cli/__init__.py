"""The `atoll` command. `--help` imports neither the client nor the server."""


def main() -> int:
    """Run the command line; the exit code."""
    from atoll.cli.main import run  # noqa: PLC0415 - `import atoll.cli` stays free of typer

    return run()
