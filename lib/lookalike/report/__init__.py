"""What people see of a release: the page, the closing lines, and the comparison of two releases."""
