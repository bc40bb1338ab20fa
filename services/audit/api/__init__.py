"""What may be asked of audit over HTTP, and the archive that is asked."""

from .routes import routes

__all__ = ["routes"]
