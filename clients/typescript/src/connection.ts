import { Auth, bearer } from "./auth.js";
import { Calls } from "./calls.js";
import { keysDialect } from "./codec.js";
import { ConnectionLost, members, report, RouteError, retryAfter, safely } from "./errors.js";
import { type Host, LONGEST } from "./host.js";
import { Life } from "./life.js";
import { Page } from "./page.js";
import { Topics } from "./topics.js";
import type {
  Clock,
  Data,
  Dialect,
  IncomingFrame,
  OutgoingFrame,
  Push,
  SocketOptions,
  State,
  WebSocketConstructor,
  WebSocketLike,
  Why,
} from "./types.js";

/** Connecting and authenticating take at most so long. All in milliseconds. */
const CONNECT = 10_000;
/** The back-off begins anew when a connection has been open so long. */
const STABLE = 5_000;
/** The close follows its notice; if it has not after so long, the notice is taken for it. */
const CLOSING = 3_000;
const FIRST_BACKOFF = 500;
const MAX_BACKOFF = 30_000;
/** A hidden page tries at most so often. */
const HIDDEN = 30_000;

/** Close codes that are final without a notice: bad request, forbidden, not found, too large. */
const FINAL = [4400, 4403, 4404, 4413];
const UNAUTHENTICATED = 4401;

/** `WebSocket.OPEN`, also where the constructor is injected. */
const OPEN = 1;

const CLOCK: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (timer) => clearTimeout(timer as number),
};

export type Listener = (payload: unknown, push: Push) => void;
export type StateListener = (state: State, why: Why | undefined) => void;

/** The state machine: one WebSocket at a time, and what follows when it ends. */
export class Connection implements Host {
  readonly _dialect: Dialect;
  readonly _clock: Clock;
  readonly _calls: Calls;
  readonly _topics: Topics;
  readonly _listeners = new Map<string, Set<Listener>>();
  readonly _stateListeners = new Set<StateListener>();
  _state: State = "idle";
  _why: Why | undefined;

  private readonly _auth: Auth;
  private readonly _life: Life;
  private readonly _page: Page;
  private _ws: WebSocketLike | undefined;
  /** The server's CLOSE notice on this connection. */
  private _notice: Why | undefined;
  /** Changes with each attempt, so that one can see whether it has been given up. */
  private _attempt = {};
  /** Attempts since a connection was stable. */
  private _tries = 0;
  private _tried = -Infinity;
  /** The timer of the state: of connecting, of becoming stable, or of waiting. */
  private _timer: unknown;
  /** Whether nothing may cut the waiting short, since the server has said how long it is. */
  private _patient = false;

  constructor(
    private readonly _url: string,
    private readonly _options: SocketOptions,
  ) {
    this._dialect = _options.dialect ?? keysDialect(_options.keys ?? {});
    this._clock = _options.clock ?? CLOCK;
    this._calls = new Calls(this);
    this._topics = new Topics(this, this._calls);
    this._auth = new Auth(this, this._calls, _options.token);
    this._life = new Life(this);
    this._page = new Page(
      () => this._wake(),
      () => this._freeze(),
    );
  }

  get _ready(): boolean {
    return this._state == "open" && !this._notice && this._ws!.readyState == OPEN;
  }

  get _over(): Why | undefined {
    return this._state == "closed" ? this._why : undefined;
  }

  _connect(): void {
    if (this._state == "idle" || this._state == "closed") {
      this._tries = 0;
      this._auth._refused = false;
      this._page._listen();
    } else if (this._state != "waiting" || this._patient) return;
    this._try();
  }

  _close(why: Why): void {
    if (this._state != "closed") this._end("closed", why);
  }

  _lost(why: Why, delay?: number): void {
    let over = why.reconnect === false;
    if (why.reconnect === undefined) over = FINAL.includes(why.code);
    if (why.code == UNAUTHENTICATED) {
      if (this._options.token) {
        // A new token may be good where the old one has ended. If that is refused as well, it is no use.
        over = this._auth._refused;
        this._auth._refused = true;
      } else if (!why.reconnect) over = true;
    }
    if (over || this._tries >= (this._options.maxTries ?? Infinity)) return this._end("closed", why);
    this._patient = why.retryAfter !== undefined;
    if (this._patient) delay = 1000 * why.retryAfter! * (1 + this._random() / 5);
    this._end("waiting", why);
    this._wait(delay ?? this._backoff(this._tries - 1));
  }

  _backoff(n: number): number {
    const most = Math.min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** n);
    return most / 2 + this._random() * most;
  }

  _later(callback: () => void, delay: number): unknown {
    return this._clock.setTimeout(callback, Math.min(delay, LONGEST));
  }

  _transmit(data: Data): void {
    this._ws!.send(data);
  }

  _write(frame: OutgoingFrame): boolean {
    const open = this._ws?.readyState == OPEN;
    if (open) this._transmit(this._dialect.encode(frame));
    return open;
  }

  private _random(): number {
    return (this._options.random ?? Math.random)();
  }

  private _wait(delay: number): void {
    this._clock.clearTimeout(this._timer);
    this._timer = this._later(() => {
      const rest = this._page._hidden() ? this._tried + HIDDEN - this._clock.now() : 0;
      if (rest > 0) this._wait(rest);
      else this._try();
    }, delay);
  }

  /** Opens a WebSocket. */
  private async _try(): Promise<void> {
    const attempt = (this._attempt = {});
    const current = () => this._attempt === attempt;
    ++this._tries;
    this._tried = this._clock.now();
    this._patient = false;
    this._notice = undefined;
    this._clock.clearTimeout(this._timer);
    this._timer = this._later(() => this._lost({ code: 1006, reason: "Connecting took too long." }), CONNECT);
    this._enter("connecting");
    try {
      const asFrame = this._options.auth != "subprotocol";
      const { protocols = [] } = this._options;
      const offered = [...protocols];
      if (!asFrame) {
        const token = await this._auth._get();
        if (!current()) return;
        if (token !== null) offered.push(...(protocols.length ? [] : ["routesock"]), bearer(token));
      }
      const { WebSocket = globalThis.WebSocket as unknown as WebSocketConstructor } = this._options;
      const ws = (this._ws = new WebSocket(this._url, offered));
      ws.binaryType = "arraybuffer";
      ws.onopen = () => {
        if (current()) this._opened(asFrame, current).catch((error: unknown) => current() && this._unopened(error));
      };
      ws.onmessage = ({ data }) => current() && this._receive(data);
      ws.onclose = ({ code, reason }) => current() && this._lost(this._notice ?? { code, reason });
      ws.onerror = () => {}; // the close event follows
    } catch (cause) {
      if (current()) this._unopened(cause);
    }
  }

  private async _opened(asFrame: boolean, current: () => boolean): Promise<void> {
    if (asFrame && this._options.token) {
      this._enter("authenticating");
      const token = await this._auth._get();
      if (!current()) return;
      if (token !== null) await this._auth._send(token).catch(this._unasked);
      if (!current()) return;
    }
    this._clock.clearTimeout(this._timer);
    this._timer = this._later(() => {
      this._tries = 0;
      this._auth._refused = false;
    }, STABLE);
    this._state = "open";
    this._life._start();
    this._topics._opened();
    this._calls._flush(true);
    this._enter("open");
  }

  /** A server that does not know AUTH knows the user already, by a cookie, say. */
  private _unasked(error: unknown): void {
    if ((error as RouteError).status != 404) throw error;
  }

  /** Connecting or authenticating has failed. */
  private _unopened(cause: unknown): void {
    if (cause instanceof ConnectionLost) return;
    if (!(cause instanceof RouteError)) return this._lost({ code: 1006, reason: "Connecting failed.", cause });
    const { status, message, retryAfter } = cause;
    const temporary = status >= 500 || status == 429 || status == 408;
    this._lost({
      code: 4000 + status,
      reason: message,
      reconnect: temporary,
      ...(retryAfter === undefined ? {} : { retryAfter }),
    });
  }

  /** Leaves the WebSocket, whatever state it is in. */
  private _end(state: "waiting" | "closed", why: Why): void {
    const ws = this._ws;
    this._attempt = {};
    this._ws = undefined;
    this._clock.clearTimeout(this._timer);
    this._life._stop();
    this._auth._stop();
    ws?.close();
    if (state == "closed") this._page._forget();
    this._state = state;
    this._why = why;
    this._topics._lost();
    this._calls._lost(why);
    this._enter(state);
  }

  private _enter(state: State): void {
    this._state = state;
    for (const listener of [...this._stateListeners]) safely(() => listener(state, this._why));
  }

  private _receive(data: Data): void {
    this._life._frame();
    let frame: IncomingFrame | undefined;
    try {
      frame = this._dialect.decode(data);
    } catch (error) {
      report(error);
    }
    if (!frame) return;
    const { route, id, status, payload, headers = {}, topic } = frame;
    if (route == "PONG") return;
    if (route == "PING" && status == null) {
      this._write({ route: "PONG", id, payload });
    } else if (status != null || id != null || this._dialect.ids === false) {
      if (this._calls._receive(frame)) return;
      if (status != null) {
        // An id that is not known is that of a call that was cancelled.
        if (status >= 400 && id == null) {
          const error = new RouteError(route, status, members(payload), headers);
          safely(() => (this._options.onError ?? report)(error));
        }
        return;
      }
    }
    const { code, reason, reconnect, max_queued, maxQueued = max_queued } = members(payload);
    if (route == "CLOSE") {
      const seconds = retryAfter(payload);
      this._notice = {
        code: code as unknown as number,
        reason: reason as string,
        reconnect: reconnect as boolean,
        ...(seconds === undefined ? {} : { retryAfter: seconds }),
      };
      this._clock.clearTimeout(this._timer);
      this._timer = this._later(() => this._lost(this._notice!), CLOSING);
      return;
    }
    if (route == "HELLO") this._calls._allow(maxQueued);
    if (route == "UNSUBSCRIBE") this._topics._ended(members(payload)["topic"], members(payload));
    if (route === null) return;
    const push = { route, payload, headers, topic };
    this._topics._push(push);
    const listeners = this._listeners.get(route) ?? this._listeners.get("*");
    for (const listener of [...(listeners ?? [])]) safely(() => listener(payload, push));
  }

  private _wake(): void {
    if (this._state == "open") this._life._wake();
    else if (this._state == "waiting" && !this._patient) this._wait(0);
  }

  /** A page with an open WebSocket cannot enter the back/forward cache. */
  private _freeze(): void {
    if (!this._ws) return;
    this._patient = false;
    this._end("waiting", { code: 1001, reason: "The page is in the back/forward cache." });
  }
}
