import { ConnectionLost, members, RouteError } from "./errors.js";
import type { Host } from "./host.js";
import type { CallOptions, Data, IncomingFrame, Reply, Why } from "./types.js";

/** Requests in flight at a time. The server lets 64 wait, and answers more with 429. */
const WINDOW = 32;
/** What waits for a connection: at most so many frames, of so many bytes together. */
const MAX_QUEUED = 256;
const MAX_QUEUED_BYTES = 256 * 1024;
/** Longer than the server's own deadline, 30 s by default. In milliseconds. */
const TIMEOUT = 35_000;
/** How often a call is sent again after a 429 `too_many_in_flight`. */
const RETRIES = 3;

/**
 * How a call waits: `queue` behind the others; `front` (SUBSCRIBE and UNSUBSCRIBE) before those; `stream` behind the
 * others for a connection, but not for a place in the window; `now` (AUTH) not at all.
 */
export type Lane = "queue" | "front" | "stream" | "now";

interface Call {
  readonly _id: number;
  readonly _route: string;
  readonly _data: Data;
  readonly _lane: Lane;
  readonly _options: CallOptions;
  readonly _item: ((payload: unknown) => void) | undefined;
  readonly _resolve: (reply: Reply) => void;
  readonly _reject: (error: unknown) => void;
  /** Starts the deadline anew. */
  readonly _restart: () => void;
  readonly _cleanUp: () => void;
  _bytes?: number;
  _tries: number;
  _done?: boolean;
}

/** The calls that wait and those that are in flight. */
export class Calls {
  /** In the order in which they were sent. */
  private _sent = new Map<number, Call>();
  private _front = new Set<Call>();
  private _queue = new Set<Call>();
  /** Those that were answered 429 and wait to be sent again. */
  private _retrying = new Set<Call>();
  private _lastId = 0;
  private _window = WINDOW;

  constructor(private readonly _host: Host) {}

  /** Makes the window as small as the server's HELLO says. */
  _allow(queued: unknown): void {
    this._window = Math.max(1, Math.min(WINDOW, typeof queued == "number" ? queued : WINDOW));
  }

  _start(
    route: string,
    payload: unknown,
    options: CallOptions = {},
    lane: Lane = "queue",
    item?: (payload: unknown) => void,
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const host = this._host;
      const { signal, timeout, headers } = options;
      signal?.throwIfAborted();
      if (host._over) throw new ConnectionLost(false, host._over);
      const limit = timeout === undefined ? (item ? null : TIMEOUT) : timeout;
      let timer: unknown;
      const abort = () => this._cancel(call, signal!.reason);
      const expire = () => this._cancel(call, new DOMException(`${route}: no reply in ${limit} ms`, "TimeoutError"));
      const call: Call = {
        _id: ++this._lastId,
        _route: route,
        // Encoded now, so that the payload may change before it is sent.
        _data: host._dialect.encode({
          route,
          id: this._lastId,
          payload,
          headers: timeout == null ? headers : { ...headers, "Request-Timeout": timeout / 1000 },
        }),
        _lane: lane,
        _options: options,
        _item: item,
        _resolve: resolve,
        _reject: reject,
        _restart() {
          host._clock.clearTimeout(timer);
          if (limit !== null) timer = host._later(expire, limit);
        },
        _cleanUp() {
          host._clock.clearTimeout(timer);
          signal?.removeEventListener("abort", abort);
        },
        _tries: 0,
      };
      call._restart();
      signal?.addEventListener("abort", abort);
      this._place(call);
    });
  }

  /** Sends what waits, as far as the window allows. `opened`: the connection is new, so streams may wait, too. */
  _flush(opened = false): void {
    const host = this._host;
    if (!host._ready) {
      // Only so much waits for a connection, and the oldest first.
      let frames = 0;
      let bytes = 0;
      for (const call of this._queue) {
        bytes += call._bytes ??= new Blob([call._data]).size;
        if (call._options.queue === false || ++frames > MAX_QUEUED || bytes > MAX_QUEUED_BYTES) {
          this._fail(call, new ConnectionLost(false, host._over));
        }
      }
      return;
    }
    let used = 0;
    for (const call of this._sent.values()) if (this._counts(call)) ++used;
    for (const lane of [this._front, this._queue]) {
      for (const call of lane) {
        if (!this._counts(call) || used < this._size()) {
          if (this._counts(call)) ++used;
          lane.delete(call);
          this._send(call);
        } else if (!opened) break;
      }
    }
  }

  /** Takes a reply. Returns false if no call waits for it. */
  _receive({ id, status = 200, payload, headers = {}, route }: IncomingFrame): boolean {
    const call = this._host._dialect.ids === false ? this._only(route) : this._sent.get(id as number);
    if (!call) return false;
    if (status == 206 && call._item) {
      call._restart();
      call._item(payload);
      return true;
    }
    this._sent.delete(call._id);
    if (status < 400) {
      this._finish(call);
      call._resolve({ status, payload, headers });
    } else if (status == 429 && members(payload).code == "too_many_in_flight" && call._tries < RETRIES && !call._done) {
      this._retrying.add(call);
      this._host._later(() => {
        if (this._retrying.delete(call)) this._place(call, true);
      }, this._host._backoff(call._tries++));
    } else this._fail(call, new RouteError(call._route, status, members(payload), headers));
    this._flush();
    return true;
  }

  /** The connection is lost: what was sent is not sent again unless its call allows that. */
  _lost(why: Why): void {
    const again: Call[] = [];
    for (const call of this._sent.values()) {
      if (call._options.idempotent && call._lane == "queue" && !call._done) again.push(call);
      else this._fail(call, new ConnectionLost(true, why));
    }
    this._sent.clear();
    for (const call of this._front) this._fail(call, new ConnectionLost(false, why));
    this._queue = new Set([...again, ...this._queue]);
    if (this._host._over) {
      for (const call of again) this._fail(call, new ConnectionLost(true, why));
      for (const call of [...this._queue, ...this._retrying]) this._fail(call, new ConnectionLost(false, why));
    }
    this._flush();
  }

  /** Ends a call from this side. */
  _cancel(call: Call, reason: unknown): void {
    const sent = this._sent.has(call._id);
    this._fail(call, reason);
    if (!sent) return;
    if (this._host._dialect.ids === false) {
      this._sent.set(call._id, call); // its reply still comes, and could be taken for that of the next call
    } else {
      this._host._write({ route: "CANCEL", id: call._id });
      this._flush();
    }
  }

  private _counts(call: Call): boolean {
    return call._lane != "stream" || this._host._dialect.ids === false;
  }

  private _size(): number {
    return this._host._dialect.ids === false ? 1 : this._window;
  }

  /** The call in flight where frames have no ids. */
  private _only(route: string | null): Call | undefined {
    for (const call of this._sent.values()) if (call._route === route || route === null) return call;
    return undefined;
  }

  private _place(call: Call, first = false): void {
    if (call._lane == "now" || (this._host._ready && !this._counts(call))) return this._send(call);
    if (call._lane == "front") this._front.add(call);
    else if (first) this._queue = new Set([call, ...this._queue]);
    else this._queue.add(call);
    this._flush();
  }

  private _send(call: Call): void {
    this._sent.set(call._id, call);
    this._host._transmit(call._data);
  }

  private _fail(call: Call, error: unknown): void {
    this._finish(call);
    call._reject(error);
  }

  private _finish(call: Call): void {
    call._done = true;
    call._cleanUp();
    this._sent.delete(call._id);
    for (const lane of [this._front, this._queue, this._retrying]) lane.delete(call);
  }
}

