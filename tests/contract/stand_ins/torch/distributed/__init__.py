"""Ranks that form no group."""


def is_initialized() -> bool:
    return False
