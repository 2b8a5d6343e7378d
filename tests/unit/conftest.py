"""Settings of the unit tests."""

from hypothesis import settings

# No deadline: a busy machine is not a bug. Few examples: the properties are many.
settings.register_profile("unit", deadline=None, max_examples=50)
settings.load_profile("unit")
