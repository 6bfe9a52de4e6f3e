import { type Connection, createConnection, type Listener } from "./connection.js";
import { APART } from "./limits.js";
import { ItemBuffer } from "./streams.js";
import type {
  AnswerOf,
  AnyApi,
  Api,
  Arguments,
  AskedOf,
  CallOptions,
  ItemOf,
  Items,
  Push,
  PushOf,
  Reply,
  ReplyOf,
  SnapshotOf,
  SocketOptions,
  State,
  StreamOptions,
  Subscription,
  TopicHandlers,
  TopicName,
  TopicNames,
  TopicOf,
  Why,
} from "./types.js";

/** Ends what has returned it. May be called again. */
export type Off = () => void;

/** `"/ws/chat/"` as the URL of a WebSocket; in a page, relative to it. */
function absolute(url: string): string {
  const page = globalThis.location?.href;
  if (!page && url[0] == "/") throw new TypeError("Pass a whole URL: there is no page.");
  return new URL(url, page).href.replace(/^http/, "ws");
}

/**
 * A WebSocket that comes back by itself, with calls, streams, pushes and topics.
 *
 * `T` has the names and payloads of the consumer. Without it every name is allowed, and payloads are `unknown`.
 */
export class Routesock<T extends Api = AnyApi> {
  private readonly _connection: Connection;

  /**
   * @param url A path such as `"/ws/chat/"`, which belongs to the page's host, or a whole URL.
   * @throws TypeError for a URL that cannot be parsed, and for a path outside of a page.
   */
  constructor(url: string, options: SocketOptions = {}) {
    this._connection = createConnection(absolute(url), options);
  }

  /** What the connection is doing. */
  get state(): State {
    return this._connection._state();
  }

  /** Why the last connection has ended; `undefined` before that. */
  get why(): Why | undefined {
    return this._connection._why();
  }

  /**
   * Opens the connection, and keeps it open until `close()`. While it waits to try again, it tries at once.
   *
   * @throws ReferenceError if the platform has no WebSocket: pass the option `WebSocket`.
   */
  connect(): this {
    this._connection._connect();
    return this;
  }

  /** Closes the connection. Calls that wait or are in flight reject with `ConnectionLost`; subscriptions are kept. */
  close(): void {
    this._connection._close();
  }

  /** Closes the connection at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Calls a route, and returns the payload of its reply.
   *
   * @throws RouteError if the server answers with a status from 400 on.
   * @throws ConnectionLost if there is no connection, or it is lost before the reply.
   * @throws DOMException named `TimeoutError` after `timeout` milliseconds. Its message says whether the call was sent. If
   *   there is no connection, its `cause` is why the last one has ended. If the signal aborts, its reason.
   */
  async call<N extends keyof T["routes"] & string>(
    route: N,
    ...[payload, options]: Arguments<NonNullable<T["routes"]>[N], CallOptions>
  ): Promise<ReplyOf<NonNullable<T["routes"]>[N]>> {
    return (await this.request(route, ...([payload, options] as never))).payload;
  }

  /** Like `call()`, and returns status and headers too. */
  request<N extends keyof T["routes"] & string>(
    route: N,
    ...[payload, options]: Arguments<NonNullable<T["routes"]>[N], CallOptions>
  ): Promise<Reply<ReplyOf<NonNullable<T["routes"]>[N]>>> {
    return this._connection._calls._start(route, payload, options) as Promise<never>;
  }

  /**
   * Calls a route without waiting for a reply. Errors go to the option `onError`.
   *
   * @returns Whether it was sent. It never waits for a connection.
   */
  notify<N extends keyof T["routes"] & string>(
    route: N,
    ...[payload]: Arguments<NonNullable<T["routes"]>[N], never>
  ): boolean {
    return this._connection._notify({ route, payload });
  }

  /**
   * Calls a route that streams. Leaving the loop cancels the stream on the server.
   *
   * Iterating throws what `call()` does, and `StreamOverflow` after 1,000 items that were not read.
   */
  stream<N extends keyof T["streams"] & string>(
    route: N,
    ...[payload, options]: Arguments<NonNullable<T["streams"]>[N], StreamOptions>
  ): Items<ItemOf<NonNullable<T["streams"]>[N]>> {
    const items = new ItemBuffer<unknown>();
    this._connection._calls._start(route, payload, options, "queue", items).then(
      () => items._finish([]),
      (error: unknown) => items._finish([error]),
    );
    return items as Items<never>;
  }

  /**
   * Calls `listener` with each push of that name. `"*"` gets the pushes that no other listener takes.
   *
   * @returns A function that ends it.
   */
  on<N extends keyof T["pushes"] & string>(
    route: N,
    listener: (payload: NonNullable<T["pushes"]>[N], push: Push<NonNullable<T["pushes"]>[N], N>) => void,
  ): Off;
  on(route: "*", listener: (payload: unknown, push: Push) => void): Off;
  on(route: string, listener: (payload: never, push: never) => void): Off {
    const listeners = this._connection._listeners;
    const own: Listener = (...push) => listener(...(push as [never, never])); // the same one may be added twice
    const others = listeners.get(route) ?? new Set();
    listeners.set(route, others.add(own));
    return () => {
      others.delete(own);
      if (!others.size && listeners.get(route) === others) listeners.delete(route);
    };
  }

  /**
   * Answers what the server asks under that name with what `handler` returns, or with what its promise resolves to. The
   * first of several handlers answers. To refuse, throw a `RouteError`: the server gets its status and problem. Anything
   * else that is thrown is reported, and the server gets a 500.
   *
   * `push.headers.Timeout` has the seconds for which the server waits.
   *
   * @returns A function that ends it.
   */
  answer<N extends keyof T["asks"] & string>(
    route: N,
    handler: (
      payload: AskedOf<NonNullable<T["asks"]>[N]>,
      push: Push<AskedOf<NonNullable<T["asks"]>[N]>, N>,
    ) => AnswerOf<NonNullable<T["asks"]>[N]> | PromiseLike<AnswerOf<NonNullable<T["asks"]>[N]>>,
  ): Off {
    return this.on((APART + route) as never, handler as never);
  }

  /**
   * The pushes of a name, from now on. Leaving the loop ends it.
   *
   * Iterating throws `StreamOverflow` after 1,000 pushes that were not read, and the signal's reason if that aborts.
   */
  pushes<N extends keyof T["pushes"] & string>(
    route: N,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Items<NonNullable<T["pushes"]>[N]> {
    signal?.throwIfAborted();
    const items = new ItemBuffer<NonNullable<T["pushes"]>[N]>();
    const off = this.on(route, (payload) => items._put(payload));
    const abort = () => {
      items._finish([signal!.reason]);
      items._stop();
    };
    items._stop = () => {
      off();
      signal?.removeEventListener("abort", abort);
    };
    signal?.addEventListener("abort", abort);
    return items;
  }

  /**
   * Subscribes to a topic, now and after each reconnect. If the topic has a history that still has all pushes between
   * two connections, they come after a reconnect. Else the new snapshot stands for them. Pushes may come before the
   * snapshot.
   */
  subscribe<N extends TopicNames<T>>(
    topic: TopicName<T, N>,
    handlers: TopicHandlers<SnapshotOf<TopicOf<T, N>>, PushOf<T, TopicOf<T, N>>> = {},
  ): Subscription {
    return this._connection._topics._subscribe(topic, handlers as TopicHandlers<never, never>);
  }

  /**
   * Calls `listener` with each new state, and why the last connection has ended.
   *
   * @returns A function that ends it.
   */
  onState(listener: (state: State, why: Why | undefined) => void): Off {
    return this.on(APART as never, listener as never);
  }
}
