"""What a notebook shows of a broker."""

from __future__ import annotations

from langgraph_nolag import LocalBroker, connect


async def test_a_broker_shows_its_rooms_and_nothing_in_them_is_markup() -> None:
    async with LocalBroker() as broker:
        assert "no rooms yet" in (broker._repr_html_() or "")
        async with connect(broker.url, token=broker.token("planner")) as client:
            room = await client.join("<b>news</b>room")
            await room.approve.request("publish")
            await room.handoff.dispatch("draft", {}, key="k")
            shown = broker._repr_html_() or ""
            assert "<td>&lt;b&gt;news&lt;/b&gt;room</td>" in shown
            assert "<td>1 waiting</td><td>1</td>" in shown
    assert broker._repr_html_() is None
