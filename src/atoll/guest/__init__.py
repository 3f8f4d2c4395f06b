"""The agent that runs inside a sandbox. Imports `atoll.wire` and the standard library only."""
