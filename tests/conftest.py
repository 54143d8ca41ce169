"""Settings shared by all tests: generated examples are the same in every run and have no time limit of their own."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "dwfuse", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("dwfuse")
