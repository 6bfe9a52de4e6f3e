/// <reference lib="esnext.disposable" />
/** The names and payloads of one consumer. `manage.py routesock_client typescript` writes such a type for each. */
export interface Api {
    /** Route name to `{ payload, reply, errors }`. `payload?` where the route can be called without one. */
    routes?: object;
    /** Name of a streaming route to `{ payload, item, errors }`. */
    streams?: object;
    /** Name of a push to its payload. */
    pushes?: object;
    /** Name of what the server asks to `{ payload, answer }`. */
    asks?: object;
    /**
     * Topic to `{ name, except, snapshot, push, errors }`. `name` is the type of its names, such as
     * `` `room.${string}` ``, and by default that of the key; `except` the type of those that it does not have. `push` is
     * the names of the pushes that come through it, and by default those of all pushes.
     */
    topics?: object;
}
/** The type of a socket without a generated one: every name is allowed, and every payload is `unknown`. */
export interface AnyApi {
    routes: Record<string, {
        payload?: unknown;
        reply: unknown;
    }>;
    streams: Record<string, {
        payload?: unknown;
        item: unknown;
    }>;
    pushes: Record<string, unknown>;
    asks: Record<string, {
        payload: never;
        answer: unknown;
    }>;
    topics: Record<string, {
        snapshot: unknown;
    }>;
}
/** The names in one part of an {@link Api}. */
export type Names<Part> = keyof Part & string;
/** `[payload, options?]`, where the payload may be left out if `Entry` says so. */
export type Arguments<Entry, Options> = Entry extends {
    payload: infer Payload;
} ? [payload: Payload, options?: Options] : Entry extends {
    payload?: infer Payload;
} ? [payload?: Payload, options?: Options] : [payload?: undefined, options?: Options];
/** The payload of a reply to `Entry`. */
export type ReplyOf<Entry> = Entry extends {
    reply: infer Payload;
} ? Payload : unknown;
/** The payload of what the server asks, for the ask `Entry`. */
export type AskedOf<Entry> = Entry extends {
    payload: infer Payload;
} ? Payload : never;
/** The payload of the answer to the ask `Entry`. */
export type AnswerOf<Entry> = Entry extends {
    answer: infer Payload;
} ? Payload : unknown;
/** The payload of an item of the stream `Entry`. */
export type ItemOf<Entry> = Entry extends {
    item: infer Payload;
} ? Payload : unknown;
/**
 * The errors of `Entry`, to be told apart by their `status`. Other errors than these are possible: a server may be too
 * busy, for instance.
 *
 * ```ts
 * const failed = error as ErrorOf<Chat["routes"]["message.send"]>;
 * if (failed.status === 410) failed.problem.moved_to;
 * ```
 */
export type ErrorOf<Entry> = Entry extends {
    errors: infer Errors;
} ? {
    [Status in keyof Errors]: RouteError & {
        readonly status: Status;
        readonly problem: Errors[Status];
    };
}[keyof Errors] : RouteError;
type NameOf<Entry, Key> = Entry extends {
    name: infer Name extends string;
} ? Name : Key;
type ExceptOf<Entry> = Entry extends {
    except: infer Name;
} ? Name : never;
/** The names of all topics. */
export type TopicNames<T extends Api> = {
    [Key in Names<T["topics"]>]: NameOf<NonNullable<T["topics"]>[Key], Key>;
}[Names<T["topics"]>];
/** The topic that has the name `Name`; `never` if there is none. */
export type TopicOf<T extends Api, Name extends string> = {
    [Key in Names<T["topics"]>]: Name extends ExceptOf<NonNullable<T["topics"]>[Key]> ? never : Name extends NameOf<NonNullable<T["topics"]>[Key], Key> ? NonNullable<T["topics"]>[Key] : never;
}[Names<T["topics"]>];
/** `Name`; `never` if there is no such topic. */
export type TopicName<T extends Api, Name extends string> = [TopicOf<T, Name>] extends [never] ? never : Name;
/** The payload of the snapshot of the topic `Entry`. */
export type SnapshotOf<Entry> = Entry extends {
    snapshot: infer Payload;
} ? Payload : unknown;
/** The pushes that come through the topic `Entry`, to be told apart by their `route`. */
export type PushOf<T extends Api, Entry> = [Names<T["pushes"]>] extends [never] ? Push : {
    [Name in Names<T["pushes"]>]: Push<NonNullable<T["pushes"]>[Name], Name>;
}[Entry extends {
    push: infer Name extends Names<T["pushes"]>;
} ? Name : Names<T["pushes"]>];
/** The headers of a frame. Names are compared as they stand. */
export type FrameHeaders = Readonly<Record<string, unknown>>;
/** A successful reply. */
export interface Reply<Payload = unknown> {
    /** 200 to 399. */
    readonly status: number;
    readonly payload: Payload;
    readonly headers: FrameHeaders;
}
/** An unsolicited, server-initiated frame. */
export interface Push<Payload = unknown, Route extends string = string> {
    readonly route: Route;
    readonly payload: Payload;
    readonly headers: FrameHeaders;
    /** The topic that the push came through, where the server says so. */
    readonly topic?: string | undefined;
}
/** The payload of an error: the members of RFC 9457, and what the server adds. */
export interface Problem {
    readonly code: string;
    readonly title: string;
    readonly detail: string;
    /** Messages by the path of the field that they are about. */
    readonly errors?: Readonly<Record<string, readonly string[]>>;
    readonly [member: string]: unknown;
}
/**
 * - `idle`: `connect()` has not been called.
 * - `connecting`: a WebSocket is being opened.
 * - `authenticating`: it is open, and the server checks the token.
 * - `open`: calls are sent.
 * - `waiting`: the connection was lost; another attempt follows by itself.
 * - `closed`: by `close()`, or for good by the server. `connect()` starts anew.
 */
export type State = "idle" | "connecting" | "authenticating" | "open" | "waiting" | "closed";
/** Why a connection has ended: the CLOSE notice of the server, else the close event. */
export interface Why {
    /** The close code; 1006 where there was none, as after a timeout. */
    readonly code: number;
    readonly reason: string;
    /** Whether the server's notice asks the client to connect again. Absent without a notice. */
    readonly reconnect?: boolean | undefined;
    /** In how many seconds the server's notice asks it to. */
    readonly retryAfter?: number | undefined;
    /** What `token()` or the WebSocket's constructor has thrown, or the error of its error event (not in browsers). */
    readonly cause?: unknown;
}
/** The keys of the envelope, as `Keys(...)` on the server has them. */
export interface Keys {
    /** Default: `"route"`. */
    readonly route?: string;
    /** Default: `"uuid"`. `null`: frames have no ids. Then one call is in flight at a time. */
    readonly id?: string | null;
    /** Default: `"payload"`. `null`: the members of a payload are members of the frame. */
    readonly payload?: string | null;
    /** Default: `"status"`. `null`: replies have no status. Then each of them counts as a 200. */
    readonly status?: string | null;
    /** Default: `"headers"`, or `null` if `payload` is. */
    readonly headers?: string | null;
    /** The key of a push's topic where there are no headers. Default: `"topic"`. */
    readonly topic?: string;
}
/** What a WebSocket sends and receives. */
export type Data = string | ArrayBuffer;
/** A frame to the server. Without an id it is a notification. */
export interface OutgoingFrame {
    readonly route: string;
    readonly id?: number | string | null | undefined;
    /** Only of the answer to what the server asks. */
    readonly status?: number | undefined;
    readonly payload?: unknown;
    readonly headers?: FrameHeaders | undefined;
}
/** A frame from the server. With a status it is a reply, without one a push; one with an id then asks for an answer. */
export interface IncomingFrame {
    readonly route: string | null;
    readonly id?: number | string | null | undefined;
    readonly status?: number | undefined;
    readonly payload?: unknown;
    readonly headers?: FrameHeaders | undefined;
    readonly topic?: string | undefined;
}
/** The format of frames, for a server with a dialect of its own. */
export interface Dialect {
    encode(frame: OutgoingFrame): Data;
    /** Returns `undefined` for a frame that is to be ignored. */
    decode(data: Data): IncomingFrame | undefined;
    /** Whether frames have ids. Default: true. */
    readonly ids?: boolean;
}
/** What is used of the platform's WebSocket. Subclasses of it and that of the package `ws` fit. */
export interface WebSocketLike {
    readonly readyState: number;
    binaryType: string;
    onopen: ((event: never) => void) | null;
    onmessage: ((event: never) => void) | null;
    onclose: ((event: never) => void) | null;
    onerror: ((event: never) => void) | null;
    send(data: Data): void;
    close(code?: number, reason?: string): void;
}
/** A constructor of WebSockets. */
export type WebSocketConstructor = new (url: string, protocols?: string[]) => WebSocketLike;
/** The time, in milliseconds. */
export interface Clock {
    /** Has to go on while the machine sleeps, as `Date.now` does and `performance.now` may not. */
    now(): number;
    setTimeout(callback: () => void, delay: number): unknown;
    clearTimeout(timer: unknown): void;
}
/** Options of {@link Routesock}. */
export interface SocketOptions {
    /** The keys of the server's `Keys` dialect. */
    readonly keys?: Keys;
    /** A dialect that is no `Keys`; `keys` has no effect then. */
    readonly dialect?: Dialect;
    /**
     * Returns the token, or `null` for none. It is called for each connection, and before a token expires.
     * `refused` is true if the server has refused the last one: then fetch a new one.
     */
    readonly token?: (refused: boolean) => string | null | Promise<string | null>;
    /** How the token is sent: in an AUTH frame (the default), or as a subprotocol (`TokenMiddleware`). */
    readonly auth?: "frame" | "subprotocol";
    /** Subprotocols to offer. Default: none, or `["routesock"]` beside a token. */
    readonly protocols?: readonly string[];
    /** Attempts in a row after which the socket is closed. Default: `Infinity`. */
    readonly maxTries?: number;
    /** Called with the error of a notification. Default: `reportError`. */
    readonly onError?: (error: Error) => void;
    /** Default: the platform's. Needed in Node.js before 22. */
    readonly WebSocket?: WebSocketConstructor;
    readonly clock?: Clock;
    /** Returns a number from 0 to 1, for the jitter. Default: `Math.random`. */
    readonly random?: () => number;
}
/** Options of a call. */
export interface CallOptions {
    /** Ends the call, on the server too, and rejects it with the signal's `reason`. */
    readonly signal?: AbortSignal;
    /**
     * Milliseconds from `call()` on, the time in the queue included; also sent to the server. `null`: no limit.
     * Default: 35,000, which is not sent. For a stream it is the time between two items, and the default is `null`.
     */
    readonly timeout?: number | null;
    /** `false`: reject at once if there is no connection. Default: wait for one. */
    readonly queue?: boolean;
    /**
     * Send the call again if the connection was lost before the reply. `true`: only where running it twice does no harm.
     * A text is also sent as the header `Idempotency-Key`, with which an idempotent route does not run twice.
     */
    readonly idempotent?: boolean | string;
    readonly headers?: FrameHeaders;
}
/** Items to be read with `for await`. Leaving the loop ends them at their source. */
export interface Items<Item> extends AsyncIterator<Item, undefined> {
    next(): Promise<IteratorResult<Item, undefined>>;
    return(): Promise<IteratorResult<Item, undefined>>;
    [Symbol.asyncIterator](): Items<Item>;
}
/** Options of a stream. */
export type StreamOptions = Omit<CallOptions, "idempotent">;
/** What {@link Routesock.subscribe} calls. */
export interface TopicHandlers<Snapshot = unknown, Pushes = Push> {
    /** The position that a page was rendered at, for a topic with a history. The pushes after it come first. */
    since?: string | undefined;
    /**
     * The payload of the reply to SUBSCRIBE: replace what you have by it. It comes again after each reconnect, unless the
     * topic has a history and the server still has all pushes that were missed. Then these come, and no snapshot.
     */
    snapshot?(snapshot: Snapshot): void;
    /** Called in place of `snapshot`: keep what you have, all pushes that were missed follow. */
    recovered?(): void;
    /** A push through the topic. */
    push?(push: Pushes): void;
    /** The server refused the subscription or ended it. It is not tried again. */
    ended?(problem: Problem): void;
}
/** A subscription. */
export interface Subscription {
    readonly topic: string;
    /** Ends it. UNSUBSCRIBE is sent when the last one of a topic ends. */
    unsubscribe(): void;
}
/** The server answered with a status from 400 on. */
export declare class RouteError extends Error {
    readonly route: string | null;
    readonly status: number;
    /** The payload of the reply. */
    readonly problem: Problem;
    readonly headers: FrameHeaders;
    readonly name = "RouteError";
    /** In how many seconds the server asks to try again, if it does. */
    readonly retryAfter: number | undefined;
    constructor(route: string | null, status: number, 
    /** The payload of the reply. */
    problem: Problem, headers: FrameHeaders);
}
/** There is no connection for a call, or not any longer. */
export declare class ConnectionLost extends Error {
    /** Whether the call was sent: if so, it may have run. */
    readonly sent: boolean;
    /** Why the last connection has ended; also the error's `cause`. */
    readonly why?: Why | undefined;
    readonly name = "ConnectionLost";
    constructor(
    /** Whether the call was sent: if so, it may have run. */
    sent: boolean, 
    /** Why the last connection has ended; also the error's `cause`. */
    why?: Why | undefined);
}
/** More than 1,000 items wait to be read. The stream was cancelled. */
export declare class StreamOverflow extends Error {
    readonly name = "StreamOverflow";
    constructor();
}
/** Ends what has returned it. May be called again. */
export type Off = () => void;
/**
 * A WebSocket that comes back by itself, with calls, streams, pushes and topics.
 *
 * `T` has the names and payloads of the consumer. Without it every name is allowed, and payloads are `unknown`.
 */
export declare class Routesock<T extends Api = AnyApi> {
    private readonly _connection;
    /**
     * @param url A path such as `"/ws/chat/"`, which belongs to the page's host, or a whole URL.
     * @throws TypeError for a URL that cannot be parsed, and for a path outside of a page.
     */
    constructor(url: string, options?: SocketOptions);
    /** What the connection is doing. */
    get state(): State;
    /** Why the last connection has ended; `undefined` before that. */
    get why(): Why | undefined;
    /**
     * Opens the connection, and keeps it open until `close()`. While it waits to try again, it tries at once.
     *
     * @throws ReferenceError if the platform has no WebSocket: pass the option `WebSocket`.
     */
    connect(): this;
    /** Closes the connection. Calls that wait or are in flight reject with `ConnectionLost`; subscriptions are kept. */
    close(): void;
    /** Closes the connection at the end of an `await using` block. */
    [Symbol.asyncDispose](): Promise<void>;
    /**
     * Calls a route, and returns the payload of its reply.
     *
     * @throws RouteError if the server answers with a status from 400 on.
     * @throws ConnectionLost if there is no connection, or it is lost before the reply.
     * @throws DOMException named `TimeoutError` after `timeout` milliseconds. Its message says whether the call was sent. If
     *   there is no connection, its `cause` is why the last one has ended. If the signal aborts, its reason.
     */
    call<N extends keyof T["routes"] & string>(route: N, ...[payload, options]: Arguments<NonNullable<T["routes"]>[N], CallOptions>): Promise<ReplyOf<NonNullable<T["routes"]>[N]>>;
    /** Like `call()`, and returns status and headers too. */
    request<N extends keyof T["routes"] & string>(route: N, ...[payload, options]: Arguments<NonNullable<T["routes"]>[N], CallOptions>): Promise<Reply<ReplyOf<NonNullable<T["routes"]>[N]>>>;
    /**
     * Calls a route without waiting for a reply. Errors go to the option `onError`.
     *
     * @returns Whether it was sent. It never waits for a connection.
     */
    notify<N extends keyof T["routes"] & string>(route: N, ...[payload]: Arguments<NonNullable<T["routes"]>[N], never>): boolean;
    /**
     * Calls a route that streams. Leaving the loop cancels the stream on the server.
     *
     * Iterating throws what `call()` does, and `StreamOverflow` after 1,000 items that were not read.
     */
    stream<N extends keyof T["streams"] & string>(route: N, ...[payload, options]: Arguments<NonNullable<T["streams"]>[N], StreamOptions>): Items<ItemOf<NonNullable<T["streams"]>[N]>>;
    /**
     * Calls `listener` with each push of that name. `"*"` gets the pushes that no other listener takes.
     *
     * @returns A function that ends it.
     */
    on<N extends keyof T["pushes"] & string>(route: N, listener: (payload: NonNullable<T["pushes"]>[N], push: Push<NonNullable<T["pushes"]>[N], N>) => void): Off;
    on(route: "*", listener: (payload: unknown, push: Push) => void): Off;
    /**
     * Answers what the server asks under that name with what `handler` returns, or with what its promise resolves to. The
     * first of several handlers answers. To refuse, throw a `RouteError`: the server gets its status and problem. Anything
     * else that is thrown is reported, and the server gets a 500.
     *
     * `push.headers.Timeout` has the seconds for which the server waits.
     *
     * @returns A function that ends it.
     */
    answer<N extends keyof T["asks"] & string>(route: N, handler: (payload: AskedOf<NonNullable<T["asks"]>[N]>, push: Push<AskedOf<NonNullable<T["asks"]>[N]>, N>) => AnswerOf<NonNullable<T["asks"]>[N]> | PromiseLike<AnswerOf<NonNullable<T["asks"]>[N]>>): Off;
    /**
     * The pushes of a name, from now on. Leaving the loop ends it.
     *
     * Iterating throws `StreamOverflow` after 1,000 pushes that were not read, and the signal's reason if that aborts.
     */
    pushes<N extends keyof T["pushes"] & string>(route: N, { signal }?: {
        readonly signal?: AbortSignal;
    }): Items<NonNullable<T["pushes"]>[N]>;
    /**
     * Subscribes to a topic, now and after each reconnect. If the topic has a history that still has all pushes between
     * two connections, they come after a reconnect. Else the new snapshot stands for them. Pushes may come before the
     * snapshot.
     */
    subscribe<N extends TopicNames<T>>(topic: TopicName<T, N>, handlers?: TopicHandlers<SnapshotOf<TopicOf<T, N>>, PushOf<T, TopicOf<T, N>>>): Subscription;
    /**
     * Calls `listener` with each new state, and why the last connection has ended.
     *
     * @returns A function that ends it.
     */
    onState(listener: (state: State, why: Why | undefined) => void): Off;
}
