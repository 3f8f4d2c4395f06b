"""The native API, one file for each theme. `http.md` in the docs says what a schema cannot."""
