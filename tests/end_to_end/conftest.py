"""What the tests of whole projects share."""

from short_chain import at_home  # noqa: F401
