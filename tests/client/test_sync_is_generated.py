import subprocess
import sys

from tests.arch import tree


def test_the_sync_client_is_the_async_one() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/sync_client.py", "--check"],
        cwd=tree.ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_names_that_are_exported_are_there() -> None:
    from atoll import client

    assert sorted(client.__all__) == list(client.__all__)
    assert [name for name in client.__all__ if not hasattr(client, name)] == []
