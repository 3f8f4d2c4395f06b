"""Pure ASGI layers, from the outside in: measured, boundary, bounds, guard."""
