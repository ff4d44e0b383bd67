"""The import path that users of earlier versions know; the code is in config.redaction."""

from pgmonkey.config.redaction import redact_config as redact_config
