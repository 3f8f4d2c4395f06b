"""npm packages for sessions: resolved, fetched and checked by the host; nothing of them runs there."""
