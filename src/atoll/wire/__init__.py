"""What crosses between host and guest. Standard library only; every frame is hostile input."""
