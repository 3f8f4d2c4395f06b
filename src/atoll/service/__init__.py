"""Use cases: what can be asked of Atoll, whatever the front end and whatever the backend."""
