"""A network for sandboxes that may have one: links, addresses, rules, names."""
