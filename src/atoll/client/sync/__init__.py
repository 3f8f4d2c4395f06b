"""The sync client, generated from the async one by scripts/sync_client.py."""
