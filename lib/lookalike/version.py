"""The version of the package; a run trusts refusals and neighbour lists only of its own version."""

VERSION = "0.6.0"
