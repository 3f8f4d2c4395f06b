"""The bodies of requests and answers, as pydantic models, and their translation to the core."""
