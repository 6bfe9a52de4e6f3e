"""The Python client plays the transcripts that it shares with the TypeScript client (``transcripts.test.ts``)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients.world import TRANSCRIPTS, Player, transcripts

PLAYED = transcripts()


def test_every_transcript_has_a_name_of_its_own() -> None:
    assert len(PLAYED) == sum(len(json.loads(file.read_text("utf-8"))) for file in TRANSCRIPTS.glob("*.json")) >= 116


@pytest.mark.asyncio
@pytest.mark.parametrize("transcript", PLAYED.values(), ids=PLAYED)
async def test_transcript(transcript: dict[str, Any]) -> None:
    await Player(transcript).play()
