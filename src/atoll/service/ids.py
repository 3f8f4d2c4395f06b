"""Identifiers: unique across hosts without asking anybody, and sorted by time of making."""

import base64
import os
import time

_TIME_BYTES = 6
_RANDOM_BYTES = 10
_LENGTH = 26


def new_id(prefix: str, *, at: float | None = None) -> str:
    """Make an id such as `sb_06f2…`: 48 bits of milliseconds, then 80 random bits.

    Ids of one prefix sort by time; those of the same millisecond in any order. `at` is seconds
    since the epoch, by default now.
    """
    millis = time.time_ns() // 1_000_000 if at is None else int(at * 1000)
    raw = millis.to_bytes(_TIME_BYTES, "big") + os.urandom(_RANDOM_BYTES)
    return f"{prefix}_{base64.b32hexencode(raw)[:_LENGTH].decode('ascii').lower()}"
