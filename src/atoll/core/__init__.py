"""Values and decisions. Imports the standard library only, never waits, never opens anything."""
