// A stream, a cancel, a topic and a typed error: chat/tour.py has the other side.

import { Routesock, type ErrorOf, type RouteError } from "routesock";
import { WatchedWebSocket } from "./frames.js";
import { find, outcomeOf, settled, showConnection, showOutcome } from "./page.js";
import { tour, type Tour } from "./ws.js";

const socket = new Routesock<Tour>(tour.path, { ...tour, WebSocket: WatchedWebSocket });
showConnection(socket);
socket.connect();

// --- A stream, and its end

const story = find("story");
const tell = find<HTMLButtonElement>("tell");
const stop = find<HTMLButtonElement>("stop");
const outcome = find("story-outcome");
let control: AbortController | undefined;

tell.addEventListener("click", async () => {
  control = new AbortController();
  const { signal } = control;
  tell.disabled = !(stop.disabled = false);
  story.textContent = outcome.textContent = "";
  try {
    for await (const { word } of socket.stream("story.tell", undefined, { signal })) story.append(`${word} `);
    showOutcome(outcome, "story.tell", { status: 200 });
  } catch (error) {
    if (signal.aborted) outcome.textContent = "Cancelled.";
    else showOutcome(outcome, "story.tell", outcomeOf(error));
  } finally {
    tell.disabled = !(stop.disabled = true);
  }
});

stop.addEventListener("click", () => control?.abort());

// --- A topic, and an error with a type

type Counts = Tour["pushes"]["poll.counts"];
type Answer = Tour["routes"]["poll.vote"]["payload"]["answer"];

// The snapshot comes again with each connection, so nothing is missing after a reconnect.
socket.subscribe("poll.tea", { snapshot: showCounts });
socket.on("poll.counts", showCounts);

function showCounts(counts: Counts): void {
  for (const answer of ["yes", "no"] as const) {
    find<HTMLMeterElement>(answer).max = Math.max(1, counts.yes + counts.no);
    find<HTMLMeterElement>(answer).value = counts[answer];
    find(`${answer}-count`).textContent = String(counts[answer]);
  }
}

for (const button of document.querySelectorAll<HTMLButtonElement>("button.vote")) {
  // "maybe" is no answer, which the type says too; the button is there to show what the server says.
  button.addEventListener("click", () => vote(button.value as Answer));
}

async function vote(answer: Answer): Promise<void> {
  const call = socket.request("poll.vote", { poll: "tea", answer });
  await settled(call, (outcome) => showOutcome(find("vote-outcome"), "poll.vote", outcome), explain);
}

/** What the statuses of this route say beside their `detail`. */
function explain(error: RouteError): string | undefined {
  const failed = error as ErrorOf<Tour["routes"]["poll.vote"]>;
  if (failed.status === 409) return `Your answer was ${failed.problem.answer}.`;
  return error.problem.errors?.["answer"]?.join(" ");
}
