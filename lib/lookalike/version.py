"""The version of the package; it is part of what decides whether a release can be built upon."""

VERSION = "0.2.0"
