"""What an attacker learns in a given deployment: access, knowledge, means, and what it would mean.

The stored outputs are seen through an access, with what the attacker holds about a patient and so
many reference models; each such cell is attacked, calibrated on some models and judged on others.
"""

from auscult.exposure.deployment import Deployment
from auscult.exposure.table import Inquiry, cells, exposure_of

__all__ = ["Deployment", "Inquiry", "cells", "exposure_of"]
