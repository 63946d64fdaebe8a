"""Hypothesis for all of entropy/: no deadline, machines are shared; few examples, tests are many."""

from hypothesis import settings

settings.register_profile("entropy", deadline=None, max_examples=50)
settings.load_profile("entropy")
