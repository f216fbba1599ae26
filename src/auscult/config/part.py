"""What every table of ``audit.toml`` shares: unknown keys are errors, nothing is coerced."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self) -> dict[str, Any]:
        """Keys that the file has: what it leaves out keeps the library's default."""
        return self.model_dump(exclude_unset=True)
