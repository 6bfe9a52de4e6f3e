// Built from example_project/frontend by `npm run example` in clients/typescript.

// ../../example_project/frontend/tour.ts
import { Routesock } from "../routesock/client.js";

// ../../example_project/frontend/page.ts
import { ConnectionLost, RouteError } from "../routesock/client.js";
function find(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element #${id}.`);
  return found;
}
function element(name, text = "", properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}
function showConnection(socket2) {
  const status = find("connection");
  let signedOut = false;
  let isNew = true;
  function show2() {
    const { state, why } = socket2;
    const texts = {
      idle: "Connecting…",
      connecting: isNew ? "Connecting…" : "Reconnecting…",
      authenticating: "Signing in…",
      open: "Connected",
      waiting: navigator.onLine ? "Connection lost. Reconnecting…" : "You are offline. Reconnecting when you are back.",
      closed: signedOut ? "You are no longer signed in." : `Connection ended: ${why?.reason}`
    };
    status.dataset["state"] = state;
    status.textContent = texts[state];
    find("log-in").hidden = !signedOut;
  }
  socket2.onState(async (state, why) => {
    isNew &&= state !== "open";
    signedOut ||= state === "closed" && why?.code === 4401;
    show2();
    if (state === "waiting" && why?.code === 1006 && await isSignedOut()) {
      signedOut = true;
      socket2.close();
    }
  });
  addEventListener("offline", show2);
  addEventListener("online", show2);
}
async function isSignedOut() {
  try {
    return (await fetch(location.href, { method: "HEAD", redirect: "manual" })).type === "opaqueredirect";
  } catch {
    return false;
  }
}
function outcomeOf(error, explain2 = () => void 0) {
  if (error instanceof RouteError) {
    const { status, problem, retryAfter } = error;
    const wait = retryAfter === void 0 ? "" : `Try again in ${retryAfter} s.`;
    return { status, detail: [problem.detail, explain2(error), wait].filter(Boolean).join(" "), errors: problem.errors };
  }
  if (error instanceof ConnectionLost) {
    return { detail: error.sent ? "The connection was lost. It may have arrived: look before you repeat it." : "Not sent." };
  }
  if (error instanceof DOMException) return { detail: error.message };
  throw error;
}
async function settled(call, show2, explain2) {
  try {
    const { status, payload } = await call;
    show2({ status });
    return payload;
  } catch (error) {
    show2(outcomeOf(error, explain2));
    return void 0;
  }
}
function showOutcome(output, name, { status, detail }) {
  output.textContent = `${name} → ${status ?? "no reply"}${detail ? `: ${detail}` : ""}`;
  output.dataset["kind"] = status !== void 0 && status < 400 ? "good" : "bad";
}

// ../../example_project/frontend/frames.ts
var MAX_FRAMES = 50;
var MAX_LENGTH = 400;
var SECRET = /token|password|secret/i;
var WatchedWebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    this.addEventListener("message", ({ data }) => show("received", data));
  }
  send(data) {
    show("sent", data);
    super.send(data);
  }
};
function show(direction, data) {
  const list = find("frames");
  const item = element("li", "", { className: direction });
  item.append(
    element("span", direction === "sent" ? "↑ " : "↓ ", { title: direction }),
    element("time", (/* @__PURE__ */ new Date()).toLocaleTimeString()),
    element("code", readable(data))
  );
  list.prepend(item);
  while (list.childElementCount > MAX_FRAMES) list.lastElementChild?.remove();
}
function readable(data) {
  try {
    const frame = JSON.parse(String(data));
    const text = JSON.stringify(frame, (name, value) => SECRET.test(name) ? "•••" : value);
    return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text;
  } catch {
    return "A frame that is not JSON.";
  }
}

// ../../example_project/frontend/ws.ts
var tour = {
  path: "/ws/tour/",
  keys: {}
};

// ../../example_project/frontend/tour.ts
var socket = new Routesock(tour.path, { ...tour, WebSocket: WatchedWebSocket });
showConnection(socket);
socket.connect();
var story = find("story");
var tell = find("tell");
var stop = find("stop");
var outcome = find("story-outcome");
var control;
tell.addEventListener("click", async () => {
  control = new AbortController();
  const { signal } = control;
  tell.disabled = !(stop.disabled = false);
  story.textContent = outcome.textContent = "";
  try {
    for await (const { word } of socket.stream("story.tell", void 0, { signal })) story.append(`${word} `);
    showOutcome(outcome, "story.tell", { status: 200 });
  } catch (error) {
    if (signal.aborted) outcome.textContent = "Cancelled.";
    else showOutcome(outcome, "story.tell", outcomeOf(error));
  } finally {
    tell.disabled = !(stop.disabled = true);
  }
});
stop.addEventListener("click", () => control?.abort());
socket.subscribe("poll.tea", { snapshot: showCounts });
socket.on("poll.counts", showCounts);
function showCounts(counts) {
  for (const answer of ["yes", "no"]) {
    find(answer).max = Math.max(1, counts.yes + counts.no);
    find(answer).value = counts[answer];
    find(`${answer}-count`).textContent = String(counts[answer]);
  }
}
for (const button of document.querySelectorAll("button.vote")) {
  button.addEventListener("click", () => vote(button.value));
}
async function vote(answer) {
  const call = socket.request("poll.vote", { poll: "tea", answer });
  await settled(call, (outcome2) => showOutcome(find("vote-outcome"), "poll.vote", outcome2), explain);
}
function explain(error) {
  const failed = error;
  if (failed.status === 409) return `Your answer was ${failed.problem.answer}.`;
  return error.problem.errors?.["answer"]?.join(" ");
}
