import { ConnectionLost, RouteError } from "./errors.js";
import type { Host } from "./host.js";
import { MAX_QUEUED, MAX_QUEUED_BYTES, RETRIES, TIMEOUT, WINDOW } from "./limits.js";
import type { ItemBuffer } from "./streams.js";
import type { CallOptions, Data, IncomingFrame, Reply, Why } from "./types.js";
import { members } from "./util.js";

/** A call waits behind the others, in front of them (SUBSCRIBE and UNSUBSCRIBE), or not at all (AUTH). */
export type Lane = "queue" | "front" | "now";

interface Options extends CallOptions {
  /** Called with the reply before the next frame is read. The promise may settle behind that. */
  readonly _heard?: ((reply: Reply) => void) | undefined;
}

interface Call {
  readonly _id: number;
  readonly _route: string;
  readonly _data: Data;
  readonly _lane: Lane;
  readonly _options: Options;
  /** Where the items of a stream go. */
  readonly _items: ItemBuffer<unknown> | undefined;
  readonly _resolve: (reply: Reply) => void;
  readonly _reject: (error: unknown) => void;
  /** Starts the deadline anew. */
  readonly _restart: () => void;
  readonly _cleanUp: () => void;
  /** Whether the server may have run it. It may wait again after that, if it is idempotent. */
  _sent: boolean;
  _bytes?: number;
  _tries: number;
}

/** The calls that wait and those that are in flight. */
export interface Calls {
  /** Sends a call as soon as it may be sent. It resolves to the final reply. */
  _start(route: string, payload: unknown, options?: Options, lane?: Lane, items?: ItemBuffer<unknown>): Promise<Reply>;
  /** Sends what waits, as far as the window allows. `opened`: streams may wait, too. */
  _flush(opened?: boolean): void;
  /** Takes a reply, and returns whether a call waited for it. */
  _receive(frame: IncomingFrame): boolean;
  /** The connection is lost. */
  _lost(why: Why): void;
  /** Makes the window as small as the server's HELLO says. */
  _allow(queued: unknown): void;
}

export function createCalls(host: Host): Calls {
  const ids = host._dialect.ids !== false;
  /** All that are not settled, in the order in which they were made. */
  const live = new Set<Call>();
  /** Those in flight, by id. */
  const sent = new Map<number, Call>();
  const front = new Set<Call>();
  let queue = new Set<Call>();
  let window = WINDOW;
  let lastId = 0;

  /** Streams run beside the order of the server, and may last: they take no place in the window. */
  const counts = (call: Call): boolean => !call._items || !ids;

  function start(
    route: string,
    payload: unknown,
    options: Options = {},
    lane: Lane = "queue",
    items?: ItemBuffer<unknown>,
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const { signal, timeout, headers } = options;
      signal?.throwIfAborted();
      if (host._over()) throw new ConnectionLost(false, host._why());
      const limit = timeout !== undefined ? timeout : items ? null : TIMEOUT;
      let timer: unknown;
      const abort = () => cancel(call, signal!.reason);
      const expire = () => {
        const offline = !host._ready() && { cause: host._why() };
        const text = `${route}: no${call._sent ? " reply" : "t sent"} in ${limit} ms${offline ? ": no connection" : ""}`;
        cancel(call, Object.assign(new DOMException(text, "TimeoutError"), offline));
      };
      const key = typeof options.idempotent == "string" && { "Idempotency-Key": options.idempotent };
      const seconds = timeout != null && { "Request-Timeout": timeout / 1000 };
      const call: Call = {
        _id: ++lastId,
        _route: route,
        // Encoded now, so that the payload may change before it is sent.
        _data: host._dialect.encode({
          route,
          id: lastId,
          payload,
          headers: key || seconds ? { ...headers, ...key, ...seconds } : headers,
        }),
        _lane: lane,
        _options: options,
        _items: items,
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
        _sent: false,
      };
      call._restart();
      signal?.addEventListener("abort", abort);
      if (items) items._stop = () => cancel(call, undefined);
      live.add(call);
      if (lane == "now" || (host._ready() && !counts(call))) send(call);
      else {
        (lane == "front" ? front : queue).add(call);
        flush();
      }
    });
  }

  function send(call: Call): void {
    call._sent = true;
    sent.set(call._id, call);
    host._transmit(call._data);
  }

  function flush(opened = false): void {
    if (!host._ready()) return trim();
    let used = 0;
    for (const call of sent.values()) if (counts(call)) ++used;
    for (const lane of [front, queue]) {
      for (const call of lane) {
        const counted = counts(call);
        if (!counted || used < (ids ? window : 1)) {
          if (counted) ++used;
          lane.delete(call);
          send(call);
        } else if (!opened) break;
      }
    }
  }

  /** Only so much waits for a connection, and the oldest first. */
  function trim(): void {
    let frames = 0;
    let bytes = 0;
    for (const call of queue) {
      bytes += call._bytes ??= new Blob([call._data]).size;
      if (call._options.queue === false || ++frames > MAX_QUEUED || bytes > MAX_QUEUED_BYTES) {
        fail(call, new ConnectionLost(call._sent, host._why()));
      }
    }
  }

  function receive({ id, status = 200, payload, headers = {}, route }: IncomingFrame): boolean {
    // Without ids one call is in flight at a time.
    const [only] = sent.values();
    const call = ids ? sent.get(id as number) : only?._route == route ? only : undefined;
    if (!call) return false;
    if (status == 206 && call._items) {
      call._restart();
      call._items._put(payload);
      return true;
    }
    sent.delete(call._id);
    const problem = members(payload);
    if (status < 400) {
      finish(call);
      const reply = { status, payload, headers };
      call._options._heard?.(reply);
      call._resolve(reply);
    } else if (status == 429 && problem.code == "too_many_in_flight" && call._tries < RETRIES) {
      call._sent = false; // the server has not run it
      const again = () => {
        if (!live.has(call)) return;
        queue = new Set([call, ...queue]);
        flush(true);
      };
      host._later(again, host._backoff(call._tries++));
    } else fail(call, new RouteError(call._route, status, problem, headers));
    flush();
    return true;
  }

  function lost(why: Why): void {
    const over = host._over();
    const again: Call[] = [];
    for (const call of live) {
      const wasSent = sent.has(call._id);
      if (wasSent && call._options.idempotent && !over) again.push(call);
      else if (wasSent || over || call._lane != "queue") fail(call, new ConnectionLost(call._sent, why));
    }
    sent.clear();
    queue = new Set([...again, ...queue]);
    trim();
  }

  /** Ends a call from this side. */
  function cancel(call: Call, reason: unknown): void {
    const wasSent = sent.has(call._id);
    fail(call, reason);
    if (!wasSent) return;
    // Without ids the reply still comes, and must not be taken for that of the next call.
    if (!ids) sent.set(call._id, call);
    else host._write({ route: "CANCEL", id: call._id });
    flush();
  }

  function fail(call: Call, error: unknown): void {
    finish(call);
    call._reject(error);
  }

  function finish(call: Call): void {
    call._cleanUp();
    sent.delete(call._id);
    for (const calls of [live, front, queue]) calls.delete(call);
  }

  return {
    _start: start,
    _flush: flush,
    _receive: receive,
    _lost: lost,
    _allow(queued) {
      if (typeof queued == "number") window = Math.max(1, Math.min(WINDOW, queued));
    },
  };
}
