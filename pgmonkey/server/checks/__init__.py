"""The catalogue: every check there is, in the order in which it is printed."""

from __future__ import annotations

from pgmonkey.server.checks.admission import ADMISSION
from pgmonkey.server.checks.authentication import AUTHENTICATION
from pgmonkey.server.checks.capacity import CAPACITY
from pgmonkey.server.checks.certificates import CERTIFICATES
from pgmonkey.server.checks.hba import HBA
from pgmonkey.server.checks.hba_file import HBA_FILE
from pgmonkey.server.checks.model import Check
from pgmonkey.server.checks.roles import ROLES
from pgmonkey.server.checks.state import STATE
from pgmonkey.server.checks.timeouts import TIMEOUTS
from pgmonkey.server.checks.tls import TLS

CHECKS: tuple[Check, ...] = (
    *ADMISSION,
    *HBA,
    *HBA_FILE,
    *TLS,
    *CERTIFICATES,
    *AUTHENTICATION,
    *ROLES,
    *CAPACITY,
    *TIMEOUTS,
    *STATE,
)
BY_ID = {check.id: check for check in CHECKS}
