import type { Api, Arguments, CallOptions, Problem, Push, PushOf, ReplyOf, Routesock, SnapshotOf, State, TopicName, TopicNames, TopicOf } from "./client.js";
/** The state of a socket. */
export declare function useSocketState<T extends Api>(socket: Routesock<T>): State;
/** Calls `listener`, that of the last render, with each push of a name. */
export declare function usePush<T extends Api, N extends keyof T["pushes"] & string>(socket: Routesock<T>, route: N, listener: (payload: NonNullable<T["pushes"]>[N], push: Push<NonNullable<T["pushes"]>[N], N>) => void): void;
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
export declare function useTopic<T extends Api, N extends TopicNames<T>>(socket: Routesock<T>, topic: TopicName<T, N> | null, reducer?: (data: SnapshotOf<TopicOf<T, N>>, push: PushOf<T, TopicOf<T, N>>) => SnapshotOf<TopicOf<T, N>>): TopicState<SnapshotOf<TopicOf<T, N>>>;
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
export declare function useRoute<T extends Api, N extends keyof T["routes"] & string>(socket: Routesock<T>, route: N): RouteState<NonNullable<T["routes"]>[N]>;
