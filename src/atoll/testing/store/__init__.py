"""The cases of `atoll.testing.store_contract.StoreContract`, a class for each concern."""
