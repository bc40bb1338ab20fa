"""Proof that nothing was changed, removed, reordered or inserted: every chain, in every store, computed again."""

from ...domain.report import Finding, Report
from .verifying import verify

__all__ = ["Finding", "Report", "verify"]
