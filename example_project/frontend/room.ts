// The page of a room. It speaks to chat/legacy.py, chat/takeover.py and chat/consumers.py alike.

import { Routesock } from "routesock";
import { WatchedWebSocket } from "./frames.js";
import { element, find, settled, showConnection, showOutcome, type Outcome } from "./page.js";
import { chat, type Chat, type Message } from "./ws.js";

/** The actions that are still in `receive_json`, so that no generated type has them. */
interface OldActions {
  whoami: { reply: { username: string } };
  typing: { reply: unknown };
}

interface Room extends Chat {
  routes: Chat["routes"] & OldActions;
}

const socket = new Routesock<Room>(chat.path, { ...chat, WebSocket: WatchedWebSocket });

const room = find("chat").dataset["room"] ?? "";
const log = find("log");
const text = find<HTMLTextAreaElement>("text");

let username = "";
/** Whether the server has the messages of a room as a topic. The consumers before the second step do not. */
let hasTopic = true;
/** The id of the message that the form edits. */
let editing: number | undefined;

// --- What comes over the socket

showConnection(socket);
socket.onState((state) => {
  find<HTMLButtonElement>("submit").disabled = state !== "open";
  log.ariaBusy = "true";
  if (state === "open") void enter();
});
// After a reconnect the server sends what the page has missed. If it cannot, `snapshot` is called again.
socket.subscribe(`room:${room}`, {
  snapshot: ({ messages }) => messages.forEach(show),
  ended: () => (hasTopic = false),
});
socket.on("message", (message) => {
  find("typing").textContent = "";
  show(message);
});
socket.on("announcement", announce);
socket.on("typing", ({ username }) => showTyping(username));
socket.connect();

/** The server has forgotten the room of the last connection. Without a topic, messages may have been missed since. */
async function enter(): Promise<void> {
  ({ username = "" } = (await settled(socket.request("whoami"), shown("whoami"))) ?? {});
  find("whoami").textContent = username;
  if (!(await settled(socket.request("room.join", { room }), shown("room.join")))) return;
  if (!hasTopic) (await settled(socket.request("message.list"), shown("message.list")))?.messages.forEach(show);
  log.ariaBusy = "false";
}

// --- What is shown

/** Shows a message, new or edited. */
function show(message: Message): void {
  const time = new Date(message.created_at).toLocaleTimeString([], { timeStyle: "short" });
  // Offered for everybody's messages, so that the server's 403 can be seen.
  const edit = element("button", "Edit", { type: "button", className: "quiet", onclick: () => startEditing(message) });
  edit.setAttribute("aria-label", `Edit “${message.text}”`);
  const item = element("li", "", { className: message.author === username ? "own" : "" });
  item.dataset["id"] = String(message.id);
  item.append(
    element("b", message.author),
    element("time", time, { dateTime: message.created_at }),
    edit,
    element("span", message.text),
  );

  const items = [...log.querySelectorAll("li")];
  const known = items.find((other) => other.dataset["id"] === item.dataset["id"]);
  if (known) return known.replaceWith(item);
  // A push may overtake the list that is still on its way, so the place is found by id.
  log.insertBefore(item, items.find((other) => Number(other.dataset["id"]) > message.id) ?? null);
  log.scrollTop = log.scrollHeight;
}

/** Shows what everybody should read, until it is dismissed. */
function announce(announcement: { author?: string; text: string }): void {
  const item = element("li");
  const dismiss = element("button", "Dismiss", { type: "button", className: "quiet", onclick: () => item.remove() });
  dismiss.setAttribute("aria-label", `Dismiss “${announcement.text}”`);
  item.append(element("b", announcement.author ?? "Announcement"), element("span", announcement.text), dismiss);
  find("announcements").prepend(item);
  log.scrollTop = log.scrollHeight; // it has less room now
}

let typingTimer: number | undefined;
function showTyping(name: string): void {
  find("typing").textContent = `${name} is typing…`;
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => (find("typing").textContent = ""), 3000);
}

/** A function that shows how a call went, and what is wrong with `field`. */
function shown(name: string, field: HTMLElement = text): (outcome: Outcome) => void {
  return (outcome) => {
    showOutcome(find("reply"), name, outcome);
    showErrors(outcome.errors?.["text"] ?? [], field);
  };
}

function showErrors(messages: readonly string[], field: HTMLElement = text): void {
  find(`${field.id}-errors`).textContent = messages.join(" ");
  field.setAttribute("aria-invalid", String(messages.length > 0));
}

// --- What the user does

find("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  const payload = { text: text.value };
  // What is not sent stays in the field: `queue: false` keeps the client from sending it later by itself.
  const message = await (editing === undefined
    ? settled(socket.request("message.send", payload, { queue: false }), shown("message.send"))
    : settled(socket.request("message.edit", { id: editing, ...payload }, { queue: false }), shown("message.edit")));
  if (message) stopEditing();
});

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find<HTMLFormElement>("compose").requestSubmit(find("submit"));
  }
});

let typedAt = -Infinity;
text.addEventListener("input", () => {
  if (performance.now() - typedAt < 2000) return;
  typedAt = performance.now();
  socket.notify("typing");
});

function startEditing(message: Message): void {
  editing = message.id;
  text.value = message.text;
  find("submit").textContent = "Save";
  find("cancel").hidden = false;
  text.focus();
}

function stopEditing(): void {
  editing = undefined;
  text.value = "";
  find("submit").textContent = "Send";
  find("cancel").hidden = true;
  showErrors([]);
  text.focus();
}

find("cancel").addEventListener("click", stopEditing);

/** Posts the form to an ordinary view. What that sends to the windows comes over their sockets. */
find<HTMLFormElement>("announce").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget as HTMLFormElement;
  const show = shown(`POST ${new URL(form.action).pathname}`, find("announcement"));
  try {
    const { status, ...response } = await post(form);
    show({ status, ...response });
    if (status < 400) form.reset();
  } catch {
    show({ detail: "The server cannot be reached." });
  }
});

async function post(form: HTMLFormElement): Promise<Outcome & { status: number }> {
  const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
  if (response.status !== 422) return { status: response.status };
  const { errors } = (await response.json()) as Outcome;
  return { status: 422, errors };
}
