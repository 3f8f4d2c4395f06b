"""`secretEnv`: kept encrypted, so that it outlives the server, and given to programs only."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from atoll.core.records import DocumentRecord, SandboxRecord
from atoll.core.store import Store
from atoll.dialects.rundatsheesh.errors import SheeshError
from atoll.service.clock import Clock

SPACE = "run-dat-sheesh.secrets"
_NONCE_BYTES = 12


class SecretEnv:
    """AES-256-GCM with a key made of the operator's word; the VM's id is authenticated with it."""

    def __init__(self, store: Store, clock: Clock, word: str | None) -> None:
        self._store = store
        self._clock = clock
        self._key = None if word is None else hashlib.sha256(word.encode()).digest()

    async def keep(self, sandbox_id: str, secrets: Mapping[str, str]) -> None:
        """Write them down, encrypted."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(
            nonce, json.dumps(dict(secrets)).encode(), sandbox_id.encode()
        )
        body = {"sealed": base64.b64encode(sealed).decode("ascii")}
        now = self._clock.now()
        await self._store.put_document(DocumentRecord(SPACE, sandbox_id, sandbox_id, now, body))

    async def of(self, record: SandboxRecord) -> dict[str, str]:
        """A VM's; none where it has none. 500 with another key than they were written with."""
        if not record.secrets:
            return {}
        found = await self._store.get_document(SPACE, record.id)
        if found is None:
            return {}
        sealed = base64.b64decode(found.body["sealed"])
        try:
            text = self._cipher().decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], record.id.encode()
            )
        except InvalidTag:
            raise SheeshError(500, "VM_SECRET_KEY is not the one that was used before") from None
        return {str(name): str(value) for name, value in json.loads(text).items()}

    async def forget(self, sandbox_id: str) -> None:
        """The VM is gone."""
        await self._store.drop_document(SPACE, sandbox_id)

    def _cipher(self) -> AESGCM:
        if self._key is None:
            raise SheeshError(500, "VM_SECRET_KEY is required for peer secret env support")
        return AESGCM(self._key)
