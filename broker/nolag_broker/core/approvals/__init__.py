"""Approvals: asked once, decided once, votes passed on."""
