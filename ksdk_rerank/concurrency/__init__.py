"""Threads of our own, locks that survive a fork, and what closes itself."""
