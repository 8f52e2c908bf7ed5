"""What is measured of a release before it is published, and the gates that judge it."""
