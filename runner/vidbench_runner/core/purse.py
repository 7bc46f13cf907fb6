"""What an attempt has asked of a service and what that costs: counted, and refused before it would be too much. Pure.

A job counts from the moment that the server may have accepted it, whatever became of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from vidbench_api.services import HttpSource


@dataclass
class Purse:
    """The jobs of one attempt. `source` says their price and the most that they may cost together."""

    source: HttpSource
    jobs: int = 0

    @property
    def cost(self) -> Decimal | None:
        """Return what the jobs so far cost; None where no price is known."""
        price = self.source.price_per_video
        return None if price is None else self.jobs * Decimal(price)

    def refusal(self) -> str | None:
        """Return why another job must not be submitted; None where it may."""
        price, limit = self.source.price_per_video, self.source.max_cost_per_attempt
        cost = self.cost
        if price is None or limit is None or cost is None or cost + Decimal(price) <= Decimal(limit):
            return None
        return (
            f"{self.jobs} videos cost {cost} {self.source.currency}; one more at {price} would exceed"
            f" source.http.maxCostPerAttempt, {limit}"
        )

    def pay(self) -> None:
        """Count a job that the server accepted, or may have."""
        self.jobs += 1
