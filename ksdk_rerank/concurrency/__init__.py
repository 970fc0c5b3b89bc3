"""Dedicated threads, locks that survive a fork, and a base class for whatever can be closed."""
