"""Cases: what dialects keep."""

from dataclasses import replace

from atoll.core.records import DocumentRecord
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases
from atoll.testing.store.samples import ODD_TEXTS


def document(number: int, *, space: str = "notes", owner: str = "a") -> DocumentRecord:
    """One of them."""
    body = {"number": number, "deep": [{"x": None}, 1.5, True], "text": "é\x00"}
    return DocumentRecord(space, f"doc_{number:04}", owner, 1000.0 + number, body)


class DocumentCases(StoreCases):
    """JSON objects by space and id."""

    async def test_a_document_comes_back_and_is_replaced(self, store: Store) -> None:
        assert await store.get_document("notes", "doc_0001") is None
        await store.put_document(document(1))
        assert await store.get_document("notes", "doc_0001") == document(1)
        assert await store.get_document("other", "doc_0001") is None
        changed = replace(document(1), owner="b", at=5.0, body={"now": "this"})
        await store.put_document(changed)
        assert list(await store.list_documents("notes")) == [changed]

    async def test_odd_texts_in_documents(self, store: Store) -> None:
        for number, text in enumerate(ODD_TEXTS):
            odd = DocumentRecord("notes", f"{number}", text[:50], 1.0, {"text": text})
            await store.put_document(odd)
            assert await store.get_document("notes", f"{number}") == odd

    async def test_the_newest_come_first_in_pages(self, store: Store) -> None:
        for number in range(5):
            await store.put_document(document(number, owner="ab"[number % 2]))
        await store.put_document(document(9, space="other"))
        page = await store.list_documents("notes", limit=2)
        assert [each.body["number"] for each in page] == [4, 3]
        page = await store.list_documents("notes", before=page[-1].id, limit=2)
        assert [each.body["number"] for each in page] == [2, 1]
        own = await store.list_documents("notes", owner="a")
        assert [each.body["number"] for each in own] == [4, 2, 0]

    async def test_many_at_once(self, store: Store) -> None:
        await store.put_document(document(1, owner="old"))
        await store.put_documents([document(number) for number in range(3)])
        await store.put_documents([])
        assert [each.owner for each in await store.list_documents("notes")] == ["a"] * 3

    async def test_documents_go(self, store: Store) -> None:
        for number in range(6):
            await store.put_document(document(number, owner="ab"[number % 2]))
        assert await store.drop_document("notes", "doc_0005")
        assert not await store.drop_document("notes", "doc_0005")
        assert not await store.drop_document("other", "doc_0004")
        assert await store.prune_documents("notes", owner="a", keep=1) == 2
        assert [each.body["number"] for each in await store.list_documents("notes")] == [4, 3, 1]
        assert await store.prune_documents("notes", keep=2) == 1
        assert await store.prune_documents("notes") == 2
        assert not await store.list_documents("notes")
