"""What this dialect does of run-dat-sheesh's API, line by line."""

from atoll.http.parity import Line, Parity

PARITY = Parity({"Server": (Line("port", "Port 3000 on 127.0.0.1", "`--dialect run-dat-sheesh`"),)})
