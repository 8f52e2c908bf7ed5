"""A catalogue of drawn product pictures, for the demo and the tests."""
