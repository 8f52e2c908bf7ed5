"""Formats of a catalogue beside Parquet: tables of text, folders of pictures, and tables with a log of their own."""
