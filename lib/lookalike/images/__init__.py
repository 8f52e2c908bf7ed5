"""Bytes to pixels: formats, colour, decoding, and the decoder's own process."""
