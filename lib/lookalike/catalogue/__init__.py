"""The catalogue: read it, fingerprint its pictures, compare it to the current release."""
