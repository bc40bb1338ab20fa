"""What may be asked of the care view over HTTP: one patient's view and timeline, as JSON or as a page."""

from .routes import routes
from .sign_in import SignIn

__all__ = ["SignIn", "routes"]
