"""Commands and views over HTTP: what every house's `api.py` is made of."""

from .asking import Viewing
from .commands import Commands
from .problems import Problem
from .views import Views

__all__ = ["Commands", "Problem", "Viewing", "Views"]
