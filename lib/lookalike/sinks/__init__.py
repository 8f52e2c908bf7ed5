"""Where else the current release is published: SQL views, tables of other kinds, figures, events."""
