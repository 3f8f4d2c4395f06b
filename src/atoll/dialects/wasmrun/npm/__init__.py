"""npm packages for sessions: fetched and checked by the host, where nothing of them runs."""
