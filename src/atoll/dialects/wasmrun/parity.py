"""What this dialect does of wasmrun's agent API, line by line."""

from atoll.http.parity import Parity

PARITY = Parity(())
