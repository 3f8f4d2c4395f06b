"""What this host offers, in plain sentences. Standard library only; nothing is changed."""
