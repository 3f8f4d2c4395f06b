"""Kinds of isolation. One module (a folder past 400 lines) each; none imports another."""
