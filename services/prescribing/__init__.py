"""Prescribing: one patient's medication orders, and the rules that guard them."""
