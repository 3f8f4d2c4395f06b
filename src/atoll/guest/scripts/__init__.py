"""What runs before programs of other languages, in their sandboxes: shown there read-only."""
