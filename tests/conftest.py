"""Settings for every test."""

from hypothesis import HealthCheck, settings

# The machines that run the tests are shared: a slow example is no fault.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
