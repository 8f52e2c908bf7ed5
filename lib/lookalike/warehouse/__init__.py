"""Releases and the pointer to the current one: make, publish, roll back, clean up; one run writes at a time."""
