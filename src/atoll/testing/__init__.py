"""Public: the conformance suites. A backend or a store is what passes its suite."""

import pytest

pytest.register_assert_rewrite("atoll.testing.backend", "atoll.testing.store")

from atoll.testing.backend import BackendContract  # noqa: E402 - its asserts are rewritten first
from atoll.testing.store_contract import StoreContract  # noqa: E402

__all__ = ["BackendContract", "StoreContract"]
