"""The figures of a release, measured before it is published, and the gates that it must pass."""
