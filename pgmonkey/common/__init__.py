"""Kept for the documented import path pgmonkey.common.utils.redaction."""
