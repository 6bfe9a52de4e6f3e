// Built from example_project/frontend by `npm run example` in clients/typescript.

// ../../example_project/frontend/room.ts
import { Routesock } from "../routesock/client.js";

// ../../example_project/frontend/page.ts
import { ConnectionLost, RouteError } from "../routesock/client.js";
function find(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element #${id}.`);
  return found;
}
function element(name, text2 = "", properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text2 }, properties);
}
function showConnection(socket2) {
  const status = find("connection");
  let signedOut = false;
  let isNew = true;
  function show3() {
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
    show3();
    if (state === "waiting" && why?.code === 1006 && await isSignedOut()) {
      signedOut = true;
      socket2.close();
    }
  });
  addEventListener("offline", show3);
  addEventListener("online", show3);
}
async function isSignedOut() {
  try {
    return (await fetch(location.href, { method: "HEAD", redirect: "manual" })).type === "opaqueredirect";
  } catch {
    return false;
  }
}
function outcomeOf(error, explain = () => void 0) {
  if (error instanceof RouteError) {
    const { status, problem, retryAfter } = error;
    const wait = retryAfter === void 0 ? "" : `Try again in ${retryAfter} s.`;
    return { status, detail: [problem.detail, explain(error), wait].filter(Boolean).join(" "), errors: problem.errors };
  }
  if (error instanceof ConnectionLost) {
    return { detail: error.sent ? "The connection was lost. It may have arrived: look before you repeat it." : "Not sent." };
  }
  if (error instanceof DOMException) return { detail: error.message };
  throw error;
}
async function settled(call, show3, explain) {
  try {
    const { status, payload } = await call;
    show3({ status });
    return payload;
  } catch (error) {
    show3(outcomeOf(error, explain));
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
    const text2 = JSON.stringify(frame, (name, value) => SECRET.test(name) ? "•••" : value);
    return text2.length > MAX_LENGTH ? `${text2.slice(0, MAX_LENGTH)}…` : text2;
  } catch {
    return "A frame that is not JSON.";
  }
}

// ../../example_project/frontend/ws.ts
var chat = {
  path: "/ws/chat/",
  keys: { route: "action", id: "request_id", payload: null, headers: "headers" }
};

// ../../example_project/frontend/room.ts
var socket = new Routesock(chat.path, { ...chat, WebSocket: WatchedWebSocket });
var room = find("chat").dataset["room"] ?? "";
var log = find("log");
var text = find("text");
var username = "";
var hasTopic = true;
var editing;
showConnection(socket);
socket.onState((state) => {
  find("submit").disabled = state !== "open";
  log.ariaBusy = "true";
  if (state === "open") void enter();
});
socket.subscribe(`room:${room}`, {
  snapshot: ({ messages }) => messages.forEach(show2),
  ended: () => hasTopic = false
});
socket.on("message", (message) => {
  find("typing").textContent = "";
  show2(message);
});
socket.on("announcement", announce);
socket.on("typing", ({ username: username2 }) => showTyping(username2));
socket.connect();
async function enter() {
  ({ username = "" } = await settled(socket.request("whoami"), shown("whoami")) ?? {});
  find("whoami").textContent = username;
  if (!await settled(socket.request("room.join", { room }), shown("room.join"))) return;
  if (!hasTopic) (await settled(socket.request("message.list"), shown("message.list")))?.messages.forEach(show2);
  log.ariaBusy = "false";
}
function show2(message) {
  const time = new Date(message.created_at).toLocaleTimeString([], { timeStyle: "short" });
  const edit = element("button", "Edit", { type: "button", className: "quiet", onclick: () => startEditing(message) });
  edit.setAttribute("aria-label", `Edit “${message.text}”`);
  const item = element("li", "", { className: message.author === username ? "own" : "" });
  item.dataset["id"] = String(message.id);
  item.append(
    element("b", message.author),
    element("time", time, { dateTime: message.created_at }),
    edit,
    element("span", message.text)
  );
  const items = [...log.querySelectorAll("li")];
  const known = items.find((other) => other.dataset["id"] === item.dataset["id"]);
  if (known) return known.replaceWith(item);
  log.insertBefore(item, items.find((other) => Number(other.dataset["id"]) > message.id) ?? null);
  log.scrollTop = log.scrollHeight;
}
function announce(announcement) {
  const item = element("li");
  const dismiss = element("button", "Dismiss", { type: "button", className: "quiet", onclick: () => item.remove() });
  dismiss.setAttribute("aria-label", `Dismiss “${announcement.text}”`);
  item.append(element("b", announcement.author ?? "Announcement"), element("span", announcement.text), dismiss);
  find("announcements").prepend(item);
  log.scrollTop = log.scrollHeight;
}
var typingTimer;
function showTyping(name) {
  find("typing").textContent = `${name} is typing…`;
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => find("typing").textContent = "", 3e3);
}
function shown(name, field = text) {
  return (outcome) => {
    showOutcome(find("reply"), name, outcome);
    showErrors(outcome.errors?.["text"] ?? [], field);
  };
}
function showErrors(messages, field = text) {
  find(`${field.id}-errors`).textContent = messages.join(" ");
  field.setAttribute("aria-invalid", String(messages.length > 0));
}
find("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  const payload = { text: text.value };
  const message = await (editing === void 0 ? settled(socket.request("message.send", payload, { queue: false }), shown("message.send")) : settled(socket.request("message.edit", { id: editing, ...payload }, { queue: false }), shown("message.edit")));
  if (message) stopEditing();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("compose").requestSubmit(find("submit"));
  }
});
var typedAt = -Infinity;
text.addEventListener("input", () => {
  if (performance.now() - typedAt < 2e3) return;
  typedAt = performance.now();
  socket.notify("typing");
});
function startEditing(message) {
  editing = message.id;
  text.value = message.text;
  find("submit").textContent = "Save";
  find("cancel").hidden = false;
  text.focus();
}
function stopEditing() {
  editing = void 0;
  text.value = "";
  find("submit").textContent = "Send";
  find("cancel").hidden = true;
  showErrors([]);
  text.focus();
}
find("cancel").addEventListener("click", stopEditing);
find("announce").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const show3 = shown(`POST ${new URL(form.action).pathname}`, find("announcement"));
  try {
    const { status, ...response } = await post(form);
    show3({ status, ...response });
    if (status < 400) form.reset();
  } catch {
    show3({ detail: "The server cannot be reached." });
  }
});
async function post(form) {
  const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
  if (response.status !== 422) return { status: response.status };
  const { errors } = await response.json();
  return { status: 422, errors };
}
