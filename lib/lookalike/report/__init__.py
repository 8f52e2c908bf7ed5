"""A release for people: the page, the closing lines, and two releases compared."""
