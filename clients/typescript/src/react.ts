import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type {
  Api,
  Arguments,
  CallOptions,
  Problem,
  Push,
  PushOf,
  ReplyOf,
  Routesock,
  SnapshotOf,
  State,
  Subscription,
  TopicName,
  TopicNames,
  TopicOf,
} from "./index.js";

/** A socket is closed so long after the last component that uses it is gone. In milliseconds. */
const RELEASE = 1_000;

interface Use {
  _components: number;
  _timer?: ReturnType<typeof setTimeout> | undefined;
}

/** The sockets that were idle when the first component used them. Those that you connect yourself stay yours. */
const uses = new WeakMap<object, Use>();

function hold<T extends Api>(socket: Routesock<T>): (() => void) | undefined {
  let use = uses.get(socket);
  if (!use) {
    if (socket.state != "idle") return undefined;
    uses.set(socket, (use = { _components: 0 }));
  }
  const held = use;
  clearTimeout(held._timer);
  // Also where it was closed after the last component had gone.
  if (!held._components++) socket.connect();
  return () => {
    if (!--held._components) held._timer = setTimeout(() => socket.close(), RELEASE);
  };
}

/** Keeps the socket connected while the component is there. */
function useSocket<T extends Api>(socket: Routesock<T>): void {
  useEffect(() => hold(socket), [socket]);
}

/** A ref to the value of the last render. */
function useLatest<Value>(value: Value): { readonly current: Value } {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}

/** The state of a socket. */
export function useSocketState<T extends Api>(socket: Routesock<T>): State {
  useSocket(socket);
  const subscribe = useCallback((changed: () => void) => socket.onState(changed), [socket]);
  return useSyncExternalStore(
    subscribe,
    () => socket.state,
    () => "idle",
  );
}

/** Calls `listener`, that of the last render, with each push of a name. */
export function usePush<T extends Api, N extends keyof T["pushes"] & string>(
  socket: Routesock<T>,
  route: N,
  listener: (payload: NonNullable<T["pushes"]>[N], push: Push<NonNullable<T["pushes"]>[N], N>) => void,
): void {
  useSocket(socket);
  const latest = useLatest(listener);
  useEffect(() => socket.on<N>(route, (payload, push) => latest.current(payload, push)), [socket, route]);
}

/** What {@link useTopic} knows of a topic. */
export interface TopicState<Data> {
  /** The last snapshot and the pushes since; `undefined` before the first snapshot. */
  readonly data: Data | undefined;
  /** Whether `data` may be old: there is no connection, or it has not answered SUBSCRIBE. */
  readonly stale: boolean;
  /** Why the server refused the subscription or ended it. */
  readonly problem: Problem | undefined;
}

/**
 * Subscribes to a topic, or to none for `null`. `reducer` returns what a push makes of the snapshot.
 * A push may be in the snapshot already, so applying it twice must do no harm.
 */
export function useTopic<T extends Api, N extends TopicNames<T>>(
  socket: Routesock<T>,
  topic: TopicName<T, N> | null,
  reducer: (data: SnapshotOf<TopicOf<T, N>>, push: PushOf<T, TopicOf<T, N>>) => SnapshotOf<TopicOf<T, N>> = (data) =>
    data,
): TopicState<SnapshotOf<TopicOf<T, N>>> {
  type Data = SnapshotOf<TopicOf<T, N>>;
  type AnyPush = PushOf<T, TopicOf<T, N>>;
  useSocket(socket);
  const latest = useLatest(reducer);
  const empty: TopicState<Data> = { data: undefined, stale: true, problem: undefined };
  const [state, setState] = useState(empty);
  useEffect(() => {
    if (topic === null) return undefined;
    /** Pushes that wait for the reply to SUBSCRIBE; `undefined` once it is there. */
    let early: AnyPush[] | undefined = [];
    const reduce = (data: Data, push: AnyPush) => latest.current(data, push);
    const begin = (base: (old: TopicState<Data>) => Data) => {
      const pushes = early ?? [];
      early = undefined;
      setState((old) => ({ data: pushes.reduce(reduce, base(old)), stale: false, problem: undefined }));
    };
    const subscription: Subscription = socket.subscribe<N>(topic, {
      snapshot: (snapshot) => begin(() => snapshot),
      recovered: () => begin((old) => old.data as Data),
      push(push) {
        if (early) early.push(push);
        else setState((old) => ({ ...old, data: reduce(old.data as Data, push) }));
      },
      ended: (problem) => setState((old) => ({ ...old, stale: true, problem })),
    });
    const off = socket.onState((now) => {
      if (now == "open") return;
      early = [];
      setState((old) => ({ ...old, stale: true }));
    });
    return () => {
      off();
      subscription.unsubscribe();
      setState(empty);
    };
  }, [socket, topic]);
  return state;
}

/** What {@link useRoute} returns. */
export interface RouteState<Entry> {
  /** Calls the route. Resolves to the payload of the reply, or to `undefined` if there is an error. */
  readonly call: (...args: Arguments<Entry, Omit<CallOptions, "signal">>) => Promise<ReplyOf<Entry> | undefined>;
  /** Whether the last call waits for its reply. */
  readonly pending: boolean;
  /** The payload of the last reply. */
  readonly data: ReplyOf<Entry> | undefined;
  /** What the last call was rejected with, see `Routesock.call`. */
  readonly error: Error | undefined;
}

/** A route to call. What is in flight when the component goes is aborted. */
export function useRoute<T extends Api, N extends keyof T["routes"] & string>(
  socket: Routesock<T>,
  route: N,
): RouteState<NonNullable<T["routes"]>[N]> {
  type Entry = NonNullable<T["routes"]>[N];
  useSocket(socket);
  const [state, setState] = useState<Omit<RouteState<Entry>, "call">>({
    pending: false,
    data: undefined,
    error: undefined,
  });
  const control = useRef<AbortController>(undefined);
  const last = useRef(0);
  useEffect(() => {
    const own = (control.current = new AbortController());
    return () => own.abort();
  }, [socket, route]);
  const call = useCallback(
    async (...[payload, options]: Arguments<Entry, Omit<CallOptions, "signal">>) => {
      const number = ++last.current;
      const signal = control.current?.signal;
      const set = (part: Partial<RouteState<Entry>>) => {
        if (number == last.current && !signal?.aborted) setState((old) => ({ ...old, pending: false, ...part }));
      };
      set({ pending: true, error: undefined });
      try {
        const data = await socket.call<N>(route, ...([payload, { ...options, signal }] as never));
        set({ data });
        return data;
      } catch (error) {
        set({ error: error as Error });
        return undefined;
      }
    },
    [socket, route],
  );
  return { ...state, call };
}
