"use strict";

// The page of the chat. It speaks to chat/legacy.py, chat/takeover.py and chat/consumers.py alike:
//   request  {"action", "request_id", ...fields}
//   reply    {"action", "request_id", "status", ...fields}
//   push     {"action", ...fields}

const HEARTBEAT_EVERY = 5000;
const HEARTBEAT_WITHIN = 5000;
const BACKOFF_FIRST = 250;
const BACKOFF_MOST = 10000;

/** A WebSocket that comes back by itself, with promises for replies. */
class ChatSocket {
  constructor(url, { onopen, onpush, onstate, onlatency }) {
    this.url = url;
    this.on = { open: onopen, push: onpush, state: onstate, latency: onlatency };
    this.lastId = 0;
    this.failures = 0;
    this.waiting = new Map(); // request_id -> resolve
    this.notice = null; // the CLOSE notice of the server
    this.connect();
  }

  connect() {
    this.on.state("connecting");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.notice = null;
    socket.onopen = () => {
      this.failures = 0;
      this.on.state("open");
      this.heartbeat();
      this.on.open();
    };
    socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    socket.onclose = () => this.lost(socket);
  }

  lost(socket) {
    if (socket !== this.socket) return; // given up on before
    this.socket = null;
    clearTimeout(this.nextHeartbeat);
    for (const resolve of this.waiting.values()) resolve({ status: null, detail: "The connection was lost." });
    this.waiting.clear();
    if (this.notice?.reconnect === false) {
      this.on.state("ended", 0, this.notice.reason);
      return;
    }
    const backoff = Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** this.failures++);
    const earliest = 1000 * (this.notice?.retry_after ?? 0);
    const delay = earliest + backoff;
    this.on.state("closed", delay);
    // The jitter keeps a thousand pages from coming back in the same moment after a restart.
    setTimeout(() => this.connect(), earliest + backoff * (0.5 + Math.random() / 2));
  }

  receive(frame) {
    const resolve = this.waiting.get(frame.request_id);
    if (resolve) {
      this.waiting.delete(frame.request_id);
      resolve(frame);
    } else if (frame.action === "CLOSE") {
      this.notice = frame; // the close itself follows
    } else {
      this.on.push(frame);
    }
  }

  /** Asks and resolves to the reply, also where that is an error or the connection is lost. */
  call(action, fields = {}) {
    if (this.socket?.readyState !== WebSocket.OPEN) {
      return Promise.resolve({ action, status: null, detail: "Not connected." });
    }
    const request_id = ++this.lastId;
    this.socket.send(JSON.stringify({ action, request_id, ...fields }));
    return new Promise((resolve) => this.waiting.set(request_id, resolve));
  }

  /** Tells, and expects no reply. */
  notify(action, fields = {}) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ action, ...fields }));
  }

  async heartbeat() {
    const socket = this.socket;
    const started = performance.now();
    const giveUp = setTimeout(() => {
      // A peer that is gone without a word answers no close either: do not wait for onclose.
      socket.close();
      this.lost(socket);
    }, HEARTBEAT_WITHIN);
    const pong = await this.call("PING");
    clearTimeout(giveUp);
    if (pong.action !== "PONG") return;
    this.on.latency(performance.now() - started);
    this.nextHeartbeat = setTimeout(() => this.heartbeat(), HEARTBEAT_EVERY);
  }
}

const find = (id) => document.getElementById(id);
const page = find("chat");
const log = find("log");
const text = find("text");

let username = null;
let editing = null; // id of the message that the form edits

function element(name, content, properties = {}) {
  const made = document.createElement(name);
  made.textContent = content;
  return Object.assign(made, properties);
}

/** Shows a message, new or edited. */
function show(message) {
  const created = new Date(message.created_at);
  const time = element("time", created.toLocaleTimeString([], { timeStyle: "short" }), { dateTime: message.created_at });
  // Offered for everybody's messages, so that the server's 403 can be seen.
  const edit = element("button", "Edit", { type: "button", className: "quiet", onclick: () => startEditing(message) });
  edit.setAttribute("aria-label", `Edit “${message.text}”`);
  const item = element("li", "", { className: message.author === username ? "own" : "" });
  item.dataset.id = message.id;
  item.append(element("b", message.author), element("span", message.text), time, edit);

  const known = log.querySelector(`[data-id="${Number(message.id)}"]`);
  if (known) {
    known.replaceWith(item);
  } else {
    // A push may overtake the list that is still on its way, so the place is found by id.
    const later = [...log.children].find((other) => Number(other.dataset.id) > message.id);
    log.insertBefore(item, later ?? null);
    log.scrollTop = log.scrollHeight;
  }
}

/** Shows what everybody should read, until it is dismissed. */
function showAnnouncement(announcement) {
  const dismiss = element("button", "Dismiss", { type: "button", className: "quiet", onclick: () => item.remove() });
  dismiss.setAttribute("aria-label", `Dismiss “${announcement.text}”`);
  const item = element("li", "");
  item.append(element("b", announcement.author ?? "Announcement"), element("span", announcement.text), dismiss);
  find("announcements").prepend(item);
  log.scrollTop = log.scrollHeight; // it has less room now
}

function showReply(action, reply, field = text) {
  const output = find("reply");
  const good = reply.status >= 200 && reply.status < 300;
  const wait = reply.retry_after && `Try again in ${reply.retry_after} s.`;
  output.textContent = [`${action} → ${reply.status ?? "no reply"}`, reply.detail, wait].filter(Boolean).join(": ");
  output.dataset.kind = good ? "good" : "bad";
  showErrors(reply.errors?.text ?? [], field);
  return good;
}

function showErrors(messages, field = text) {
  find(`${field.id}-errors`).textContent = messages.join(" ");
  field.setAttribute("aria-invalid", String(messages.length > 0));
}

function startEditing(message) {
  editing = message.id;
  text.value = message.text;
  find("submit").textContent = "Save";
  find("cancel").hidden = false;
  text.focus();
}

function stopEditing() {
  editing = null;
  text.value = "";
  find("submit").textContent = "Send";
  find("cancel").hidden = true;
  showErrors([]);
  text.focus();
}

let typingTimer;
function showTyping(name) {
  find("typing").textContent = `${name} is typing…`;
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => (find("typing").textContent = ""), 3000);
}

function showState(state, delay, reason) {
  const connection = find("connection");
  connection.dataset.state = state;
  connection.textContent = {
    connecting: "Connecting…",
    open: "Connected",
    closed: `Connection lost, trying again in ${(delay / 1000).toFixed(1)} s`,
    ended: `Connection ended: ${reason}`,
  }[state];
  find("submit").disabled = state !== "open";
  if (state === "closed" || state === "ended") find("heartbeat").textContent = "–";
}

function receivePush(frame) {
  if (frame.action === "message") {
    find("typing").textContent = "";
    show(frame);
  } else if (frame.action === "typing") {
    showTyping(frame.username);
  } else if (frame.action === "announcement") {
    showAnnouncement(frame);
  }
}

async function enter() {
  const me = await chat.call("whoami");
  username = me.username;
  find("whoami").textContent = username;
  const joined = await chat.call("room.join", { room: page.dataset.room });
  if (!showReply("room.join", joined)) return;
  const listed = await chat.call("message.list");
  if (showReply("message.list", listed)) listed.messages.forEach(show);
}

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const chat = new ChatSocket(`${scheme}//${location.host}${page.dataset.socketPath}`, {
  onopen: enter,
  onpush: receivePush,
  onstate: showState,
  onlatency: (milliseconds) => (find("heartbeat").textContent = `${milliseconds.toFixed(1)} ms`),
});

find("compose").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [action, fields] = editing ? ["message.edit", { id: editing }] : ["message.send", {}];
  const reply = await chat.call(action, { ...fields, text: text.value });
  if (showReply(action, reply)) stopEditing();
});

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    find("compose").requestSubmit(find("submit"));
  }
});

let typedAt = -Infinity;
text.addEventListener("input", () => {
  if (performance.now() - typedAt < 2000) return;
  typedAt = performance.now();
  chat.notify("typing");
});

find("cancel").addEventListener("click", stopEditing);

/** Posts the form to an ordinary view; whatever that sends to the windows comes over their sockets. */
async function post(form) {
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
    const errors = response.status === 422 ? (await response.json()).errors : {};
    return { status: response.status, errors };
  } catch {
    return { status: null, detail: "The server cannot be reached." };
  }
}

find("announce").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const reply = await post(form);
  if (showReply(`POST ${new URL(form.action).pathname}`, reply, find("announcement"))) form.reset();
});
