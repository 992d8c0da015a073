"""The one error of this package."""


class FeatureError(Exception):
    """An encoder or its input cannot be used as configured; the message says what to change."""
