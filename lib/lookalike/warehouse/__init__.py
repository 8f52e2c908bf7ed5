"""Releases and the pointer to the current one: stage, publish, roll back, clean up; one writer at a time."""
