"""Dedicated threads, and locks that survive a fork."""
