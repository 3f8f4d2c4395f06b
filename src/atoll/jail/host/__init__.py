"""The server's side of what runs in a jail: programs, their output and end, and work on files."""
