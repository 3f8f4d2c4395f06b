"""The front end: what every HTTP API here shares, and the native one, `/v1`."""
