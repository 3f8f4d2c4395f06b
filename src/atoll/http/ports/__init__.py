"""Programs that listen in sandboxes, reached through this server."""
