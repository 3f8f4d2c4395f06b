"""Measure the promises beside the alternatives on this host, in one run.

The client here is a bare socket speaking HTTP/1.1 with keep-alive: what is measured is the
server, not a client library. Contenders take turns (A B A B …), so that a busy moment of the
machine hits all of them.
"""
