"""The one error of configs. In a module of its own: what only names it need not load every rule."""


class ConfigError(ValueError):
    """The config cannot be run as it is; the message names the key, the value and what would do."""
