"""Root file systems and what is in them."""
