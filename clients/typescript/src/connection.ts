import { createAuth } from "./auth.js";
import { type Calls, createCalls } from "./calls.js";
import { keysDialect } from "./codec.js";
import { RouteError } from "./errors.js";
import type { Host } from "./host.js";
import { createLife } from "./life.js";
import {
  APART,
  CLOSING,
  CONNECT,
  FIRST_BACKOFF,
  HIDDEN,
  LONGEST,
  MAX_BACKOFF,
  OPEN,
  STABLE,
  UNAUTHENTICATED,
} from "./limits.js";
import { isHidden, watchPage } from "./page.js";
import { createTopics, type Topics } from "./topics.js";
import type {
  Clock,
  Data,
  IncomingFrame,
  OutgoingFrame,
  SocketOptions,
  State,
  WebSocketConstructor,
  WebSocketLike,
  Why,
} from "./types.js";
import { members, report, retryAfter, safely } from "./util.js";

const CLOCK: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (timer) => clearTimeout(timer as number),
};

export type Listener = (...args: [payload: unknown, push: unknown]) => unknown;

/** One WebSocket at a time, and what follows when it ends. */
export interface Connection {
  readonly _calls: Calls;
  readonly _topics: Topics;
  /** By the name of a push; those to states and to asks with {@link APART}. */
  readonly _listeners: Map<string, Set<Listener>>;
  _state(): State;
  _why(): Why | undefined;
  _connect(): void;
  _close(): void;
  /** Writes a frame if the socket is open, and returns whether it is. */
  _notify(frame: OutgoingFrame): boolean;
}

export function createConnection(url: string, options: SocketOptions): Connection {
  const { token, random = Math.random, maxTries = Infinity, protocols = [] } = options;
  const dialect = options.dialect ?? keysDialect(options.keys ?? {});
  const clock = options.clock ?? CLOCK;
  const asSubprotocol = options.auth == "subprotocol";
  const listeners = new Map<string, Set<Listener>>();

  let state: State = "idle";
  let why: Why | undefined;
  let ws: WebSocketLike | undefined;
  /** The server's CLOSE notice on this connection. */
  let notice: Why | undefined;
  /** Counts attempts and their ends, so that one can see whether it has been given up. */
  let attempt = 0;
  /** Attempts since a connection was stable, and the time of the last one. */
  let tries = 0;
  let tried = 0;
  /** The timer of the state: of connecting, of becoming stable, of closing, or of waiting. */
  let timer: unknown;
  /** Whether nothing may cut the waiting short, since the server has said how long it is. */
  let patient = false;
  /** Ends the watching of the page. */
  let watching: AbortController | undefined;

  const host: Host = {
    _dialect: dialect,
    _clock: clock,
    _ready: () => state == "open" && !notice && ws!.readyState == OPEN,
    _why: () => why,
    _over: () => state == "closed",
    _backoff(n) {
      const most = Math.min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** n);
      return most / 2 + random() * most;
    },
    _later: (callback, delay) => clock.setTimeout(callback, Math.min(delay, LONGEST)),
    _transmit: (data) => ws!.send(data),
    _write(frame) {
      const open = ws?.readyState == OPEN;
      if (open) ws!.send(dialect.encode(frame));
      return open;
    },
    _lost: lost,
  };
  const calls = createCalls(host);
  const topics = createTopics(host, calls);
  const auth = createAuth(host, calls, token);
  const life = createLife(host);

  function enter(next: State): void {
    state = next;
    emit(APART, next, why);
  }

  function emit(key: string, ...args: Parameters<Listener>): void {
    for (const listener of [...(listeners.get(key) ?? [])]) safely(() => listener(...args));
  }

  /** Sets the timer of the state. */
  function arm(callback: () => void, delay: number): void {
    clock.clearTimeout(timer);
    timer = host._later(callback, delay);
  }

  /** The constructor, looked up late. Without one it throws a ReferenceError: "WebSocket is not defined". */
  const implementation = () => options.WebSocket ?? (WebSocket as unknown as WebSocketConstructor);

  async function connect(): Promise<void> {
    const own = ++attempt;
    const current = () => own == attempt;
    ++tries;
    tried = clock.now();
    patient = false;
    notice = undefined;
    arm(() => lost({ code: 1006, reason: "Connecting took too long." }), CONNECT);
    enter("connecting");
    try {
      let offered = protocols;
      if (asSubprotocol) {
        const bearer = await auth._get();
        if (!current()) return;
        if (bearer !== null) offered = [...(protocols.length ? protocols : ["routesock"]), `bearer.${bearer}`];
      }
      let cause: unknown;
      ws = new (implementation())(url, [...offered]);
      ws.binaryType = "arraybuffer";
      ws.onopen = () => current() && authenticate(current);
      ws.onmessage = ({ data }: { data: Data }) => current() && receive(data);
      ws.onclose = ({ code, reason }: Why) => current() && lost(notice ?? { code, reason, ...(cause as object && { cause }) });
      // The close event follows. Outside of browsers the error says what has failed.
      ws.onerror = ({ error }: { error?: unknown }) => (cause = error);
    } catch (cause) {
      if (current()) lost({ code: 1006, reason: "Connecting failed.", cause });
    }
  }

  async function authenticate(current: () => boolean): Promise<void> {
    try {
      if (token && !asSubprotocol) {
        enter("authenticating");
        const own = await auth._get();
        if (current() && own !== null) await auth._send(own);
      }
    } catch (cause) {
      if (!current()) return;
      const { status, message: reason, retryAfter } = cause as RouteError;
      if (!status) return lost({ code: 1006, reason: "Authenticating failed.", cause });
      // A server that does not know AUTH knows the user already, by a cookie, say.
      if (status != 404) {
        return lost({ code: 4000 + status, reason, reconnect: status > 499 || status == 429, retryAfter });
      }
    }
    if (!current()) return;
    arm(() => {
      tries = 0;
      auth._refused = false;
    }, STABLE);
    topics._opened();
    state = "open";
    life._start();
    calls._flush(true);
    enter("open");
  }

  function lost(reason: Why, delay?: number): void {
    const { code, reconnect, retryAfter } = reason;
    // Final without a notice: bad request, unauthenticated, forbidden, not found, too large.
    let over = !(reconnect ?? ![4400, 4401, 4403, 4404, 4413].includes(code));
    if (code == UNAUTHENTICATED && token) {
      // A new token may be good where the old one has ended. If that is refused as well, it is no use.
      over = auth._refused;
      auth._refused = true;
    }
    if (over || tries >= maxTries) return end("closed", reason);
    end("waiting", reason);
    patient = retryAfter !== undefined;
    wait(patient ? 1000 * retryAfter! * (1 + random() / 5) : (delay ?? host._backoff(Math.max(0, tries - 1))));
  }

  function wait(delay: number): void {
    arm(() => {
      const rest = isHidden() ? tried + HIDDEN - clock.now() : 0;
      if (rest > 0) wait(rest);
      else connect();
    }, delay);
  }

  /** Leaves the WebSocket, whatever it is doing. */
  function end(next: State, reason: Why): void {
    ++attempt;
    clock.clearTimeout(timer);
    life._stop();
    auth._stop();
    ws?.close();
    ws = undefined;
    patient = false;
    if (next == "closed") watching?.abort();
    state = next;
    why = reason;
    topics._lost();
    calls._lost(reason);
    enter(next);
  }

  function wake(): void {
    if (state == "open") life._wake();
    else if (state == "waiting" && !patient) wait(0);
  }

  /** A page with an open WebSocket cannot enter the back/forward cache. */
  function freeze(): void {
    if (ws) end("waiting", { code: 1001, reason: "The page is in the back/forward cache." });
  }

  /** Answers what the server has asked, if this is still the connection that it has asked over. */
  async function respond(id: number | string, handler: () => unknown): Promise<void> {
    const own = attempt;
    const answer = (status: number, payload: unknown) => {
      if (own == attempt) host._write({ route: "ANSWER", id, status, payload });
    };
    try {
      answer(200, await handler()); // which may return what cannot be encoded
    } catch (error) {
      const { status = 500, problem } = Object(error) as Partial<RouteError>;
      if (!problem) report(error);
      answer(status, problem);
    }
  }

  function receive(data: Data): void {
    life._frame();
    let frame = undefined as IncomingFrame | undefined;
    safely(() => (frame = dialect.decode(data)));
    if (!frame) return;
    const { route, id, status, payload, headers = {}, topic } = frame;
    const problem = members(payload);
    if (route == "PONG") return;
    if (route == "PING") return void host._write({ route: "PONG", id, payload });
    if (calls._receive(frame)) return;
    if (status != null) {
      // A reply to nothing is that to a call that was cancelled, or the error of a notification.
      if (status > 399 && id == null) {
        safely(() => (options.onError ?? report)(new RouteError(route, status, problem, headers)));
      }
      return;
    }
    if (route == null) return;
    if (route == "CLOSE") {
      const { code, reason, reconnect } = problem as unknown as Why;
      notice = { code, reason, reconnect: reconnect!, retryAfter: retryAfter(payload) };
      arm(() => lost(notice!), CLOSING);
    }
    if (route == "HELLO") calls._allow(problem["max_queued"] ?? problem["maxQueued"]);
    if (route == "UNSUBSCRIBE") topics._ended(problem);
    const push = { route, payload, headers, topic };
    const [handler] = listeners.get(APART + route) ?? [];
    if (id != null && handler) respond(id, () => handler(payload, push));
    else {
      topics._push(push);
      emit(listeners.has(route) ? route : "*", payload, push);
    }
  }

  return {
    _calls: calls,
    _topics: topics,
    _listeners: listeners,
    _state: () => state,
    _why: () => why,
    _connect() {
      implementation(); // throws here, and not at each try, where there is none
      if (state == "idle" || state == "closed") {
        tries = 0;
        auth._refused = false;
        watching = new AbortController();
        watchPage(wake, freeze, watching.signal);
        connect();
      } else if (state == "waiting" && !patient) connect();
    },
    _close() {
      if (state != "closed") end("closed", { code: 1000, reason: "close() was called." });
    },
    _notify: (frame) => host._ready() && host._write(frame),
  };
}
