"""The bar of `progress`, apart from it, since tqdm is imported late."""

from tqdm import tqdm


class Bar(tqdm):  # type: ignore[misc]
    """tqdm's bar whose clock starts when the first item is done: before, its unit may have waited."""

    def update(self, n: float = 1) -> bool | None:
        """Count items."""
        if n and not self.n:
            self.unpause()
        done: bool | None = super().update(n)
        return done
