"""Cells of tables: an error with its interval, whose meaning stands in the header of the column."""

from src.evidence.statistics import error_phrase

INTERVAL = "95 % interval"


def error_cell(wrong: int, images: int) -> str:
    """`37 of 2,081 wrong: 1.78 % (1.29 to 2.44)`; the header of its column says `INTERVAL`."""
    return error_phrase(wrong, images).replace(f"{INTERVAL} ", "")
