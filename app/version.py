"""The version that the package was installed with."""

from importlib.metadata import version

VERSION = version("stomp-notify")
SERVER = f"stomp-notify/{VERSION}"
