"""Those who invoke the thread, and answer: a process that runs the graph itself, or one that starts runs which workers carry out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langgraph_nolag import NoLagSaver, distribute
from langgraph_nolag.client.rooms import RoomHandle, close_shared

from . import graph_processes as processes
from . import graph_story as story
from .graph_play import Play, Process
from .graph_processes import Command
from .processes import Worker

INVOCATIONS = 30  # of one thread, until it is given up


class Invoked(Play):
    """Orchestrators: each invokes the graph once. When one died, the next goes on (`invoke(None)`), whatever came of it."""

    victim = "orchestrator"
    _questions: Sequence[str] = ()

    async def _act(self) -> None:
        played, number = self.played, 0
        begin: Command = ("start", str(self._folder))
        command = begin
        for _ in range(INVOCATIONS):
            process = await self._invoked(command, number)
            if command[0] == "resume" and (("after", "task.begin") in process.moments or "stands" in process.said):
                played.answered.update(self._questions)
            if "raised" in process.said:
                played.wrong.append(f"an orchestrator raised {process.said['raised']}")
                return
            if "empty" in process.said:
                if any(("after", "task.begin") in each.moments for each in played.callers[:-1]):
                    played.wrong.append("the input was taken, and is not there")
                command = begin
            elif "stands" not in process.said:
                self._died("orchestrator")
                command = ("go on", None)
            else:
                values, interrupts, following, supersteps = process.said["stands"]
                if not following and not interrupts:
                    played.values, played.supersteps = values, supersteps
                    return
                by_question = {question(value): id for id, value in interrupts}
                if repeated := played.answered & by_question.keys():
                    played.wrong.append(f"asked again, though the answer was taken: {sorted(repeated)}")
                    return
                for asked in by_question.keys() & set(map(question, process.said.get("found", ()))):
                    played.again[story.ASKED_BY[asked]] += 1
                number += sorted(by_question) != self._questions
                self._questions = sorted(by_question)
                answers = {id: story.ANSWERS[asked] for asked, id in by_question.items()}
                command = ("resume", answers if len(answers) > 1 else next(iter(answers.values())))
        played.wrong.append(f"no end after {INVOCATIONS} invocations")

    async def _invoked(self, command: Command, number: int) -> Process:
        use_loop = self._trial.chance.random() < 0.5
        moment = self._moment_of(self.victim, number)
        process = Process(Worker(self._broker, processes.orchestrate, self._room, moment, self._plant, command, use_loop), number)
        await self._ended(process)
        self.played.streams.append(process.chunks)
        return process


class Background(Play):
    """Callers: each starts a run, or finds the one that a caller before it had started, and reads its stream from where that one was."""

    victim = "caller"
    resumes = True

    async def _act(self) -> None:
        played = self.played
        handle = RoomHandle(self._broker.url, self._room, self._broker.token)
        graph = distribute(story.graph, handle, name=story.NAME, checkpointer=NoLagSaver(handle))
        config: Any = {"configurable": {"thread_id": self._room}}
        command: Command = ("start", str(self._folder))
        try:
            for number in range(INVOCATIONS):
                if not await self._carried_out(command, number):
                    return
                state = await graph.aget_state(config)
                if not state.next and not state.interrupts:
                    history = [each async for each in graph.aget_state_history(config)]
                    played.values, played.supersteps = state.values, [superstep(each) for each in history]
                    return
                asked = {question(each.value): each for each in state.interrupts}
                if repeated := played.answered & asked.keys():
                    played.wrong.append(f"asked again, though the answer was taken: {sorted(repeated)}")
                    return
                played.answered.update(asked)
                if "release" in asked:
                    command = ("decide", asked["release"].value["nolag"]["approval"])
                else:
                    command = ("resume", {each.id: story.ANSWERS[name] for name, each in asked.items()})
            played.wrong.append(f"no end after {INVOCATIONS} runs")
        finally:
            await asyncio.to_thread(close_shared, self._broker.url)
            for body in story.ASKING:  # a run that is taken up invokes the bodies again that wait for an answer
                played.again[body] += played.killed["worker"]

    async def _carried_out(self, command: Command, number: int) -> bool:
        """One run, to its end, by as many callers as it takes."""
        read: list[tuple[Any, ...]] = []
        last = 0
        for _ in range(INVOCATIONS):
            moment = self._moment_of(self.victim, number)
            process = Process(Worker(self._broker, processes.call, self._room, moment, self._plant, command, number, last), number)
            await self._ended(process)
            for mode, chunk, n in process.chunks:
                if n != last + 1:
                    self.played.wrong.append(f"a caller read chunk {n} of a run after {last}")
                last = n
                read.append((mode, chunk))
            if "raised" in process.said:
                self.played.wrong.append(f"a caller raised {process.said['raised']}")
                return False
            if "ended" in process.said:
                self.played.streams.append(read)
                return True
            self._died(self.victim)
        self.played.wrong.append(f"no end of a run after {INVOCATIONS} callers")
        return False


def question(value: Any) -> str:
    """What an interrupt asks; a gate's value is a whole request."""
    return value if isinstance(value, str) else "release"


def superstep(state: Any) -> tuple[int, str, list[str]]:
    return state.metadata["step"], state.metadata["source"], list(state.next)
