import type { Calls } from "./calls.js";
import { ConnectionLost, RouteError } from "./errors.js";
import type { Host } from "./host.js";
import type { Problem, Push, Reply, Subscription, TopicHandlers } from "./types.js";
import { members, retryAfter, safely } from "./util.js";

interface Topic {
  readonly _name: string;
  /** The handlers of each subscription; the same ones may be there twice. */
  readonly _subscribers: Set<readonly [TopicHandlers]>;
  /** What SUBSCRIBE was answered with on this connection, as long as no push has come since. */
  _snapshot?: readonly [payload: unknown] | undefined;
  /** Whether a SUBSCRIBE waits for its reply, or for another try. */
  _pending?: boolean;
  _tries: number;
  _timer?: unknown;
  /** The last position that the server has told, from which the next SUBSCRIBE goes on. */
  _since?: unknown;
  /** Where the request that waits for its reply goes on from. */
  _asked?: unknown;
}

/** What the reply to RESUME says of one topic: the parts of a reply to SUBSCRIBE. */
interface Result {
  readonly status: number;
  readonly payload: unknown;
  readonly position?: unknown;
  readonly recovered?: unknown;
}

/** The subscriptions of a socket, counted by the name of their topic. */
export interface Topics {
  _subscribe(name: string, handlers: TopicHandlers): Subscription;
  /** Subscribes everything again, since the connection is new. */
  _opened(): void;
  _lost(): void;
  _push(push: Push): void;
  /** The server has ended or refused a subscription. */
  _ended(problem: Problem, name?: unknown): void;
}

export function createTopics(host: Host, calls: Calls): Topics {
  const topics = new Map<string, Topic>();

  const current = (topic: Topic): boolean => topics.get(topic._name) === topic;

  function each(topic: Topic, callback: (handlers: TopicHandlers) => void): void {
    for (const [handlers] of [...topic._subscribers]) safely(() => callback(handlers));
  }

  /** Asks for a snapshot on a connection that is subscribed. The topic has no position then. */
  function renew(topic: Topic): void {
    unsubscribe(topic._name);
    request(topic);
  }

  /** Takes the reply to SUBSCRIBE, or the part for `topic` of that to RESUME. */
  function heard(topic: Topic, payload: unknown, position: unknown, recovered: unknown): void {
    if (!current(topic)) return;
    topic._pending = false;
    topic._tries = 0;
    if (recovered && topic._asked && !topic._since) return renew(topic); // a new subscriber has no state
    topic._since = position;
    if (recovered) return each(topic, (handlers) => handlers.recovered?.());
    topic._snapshot = [payload];
    each(topic, (handlers) => handlers.snapshot?.(payload as never));
  }

  function refused(topic: Topic, { status = 503, problem, retryAfter = 0 }: RouteError): void {
    if (!current(topic)) return; // no status: there was no reply
    if (status == 409) topic._pending = false;
    else if (status < 500 && status != 429) ended(problem, topic._name);
    else again(topic, Math.max(host._backoff(topic._tries++), 1000 * retryAfter));
  }

  /** Node.js may hand over several frames at once: a push behind the reply must not overtake what `_heard` does. */
  function send(
    route: string,
    payload: unknown,
    _heard?: (reply: Reply) => void,
    failed?: (error: RouteError) => void,
  ): void {
    calls._start(route, payload, { _heard }, "front").catch((error: RouteError) => {
      // The next connection subscribes again.
      if (!((error as Error) instanceof ConnectionLost)) failed?.(error);
    });
  }

  /** Returns where the next request goes on from. */
  function asked(topic: Topic): unknown {
    topic._pending = true;
    return (topic._asked = topic._since);
  }

  function request(topic: Topic): void {
    const since = asked(topic);
    send(
      "SUBSCRIBE",
      { topic: topic._name, ...(since ? { since } : {}) },
      ({ payload, headers }) => heard(topic, payload, headers["Position"], headers["Recovered"]),
      (error) => refused(topic, error),
    );
  }

  /** Goes on with topics whose positions are known, in one request. */
  function resume(known: Topic[]): void {
    send(
      "RESUME",
      { topics: Object.fromEntries(known.map((topic) => [topic._name, asked(topic)])) },
      ({ payload: results }) => {
        for (const topic of known) {
          const { status, payload, position, recovered } = members(members(results)[topic._name]) as Partial<Result>;
          if (status! < 400) heard(topic, payload, position, recovered);
          else refused(topic, new RouteError("SUBSCRIBE", status!, members(payload), {}));
        }
      },
      // The server may not know RESUME any longer, or be too busy for all of them at once.
      () => {
        for (const topic of known) if (current(topic)) request(topic);
      },
    );
  }

  function again(topic: Topic, delay: number): void {
    topic._pending = true;
    topic._timer = host._later(() => request(topic), delay);
  }

  function unsubscribe(topic: string): void {
    // It fails only if there is no such subscription, or no connection.
    if (host._ready()) send("UNSUBSCRIBE", { topic });
  }

  /** Forgets a topic, and returns whether it was there. */
  function remove(topic: Topic): boolean {
    host._clock.clearTimeout(topic._timer);
    return current(topic) && topics.delete(topic._name);
  }

  function ended(problem: Problem, name: unknown = problem["topic"]): void {
    const topic = topics.get(name as string);
    if (topic && problem.code == "history_lost") {
      topic._since = undefined;
      again(topic, 1000 * (retryAfter(problem) ?? 0));
    } else if (topic && remove(topic)) each(topic, (handlers) => handlers.ended?.(members(problem)));
  }

  return {
    _subscribe(name, handlers) {
      const subscriber = [handlers] as const;
      const known = topics.get(name);
      const topic: Topic = known ?? { _name: name, _subscribers: new Set(), _tries: 0, _since: handlers.since };
      topic._subscribers.add(subscriber);
      topics.set(name, topic);
      const snapshot = topic._snapshot;
      if (snapshot) {
        queueMicrotask(() => {
          if (topic._subscribers.has(subscriber)) safely(() => handlers.snapshot?.(snapshot[0] as never));
        });
      } else {
        // The new one needs a snapshot, and all subscribers get it.
        if (known) topic._since = undefined;
        if (host._ready() && !topic._pending) (known ? renew : request)(topic);
      }
      return {
        topic: name,
        unsubscribe() {
          if (topic._subscribers.delete(subscriber) && !topic._subscribers.size && remove(topic)) unsubscribe(name);
        },
      };
    },

    _opened() {
      const known = [...topics.values()].filter((topic) => topic._since);
      if (known.length > 1) resume(known);
      for (const topic of topics.values()) if (!topic._pending) request(topic);
    },

    _lost() {
      for (const topic of topics.values()) {
        topic._snapshot = undefined;
        topic._pending = false;
        host._clock.clearTimeout(topic._timer);
      }
    },

    _push(push) {
      for (const topic of topics.values()) {
        // A dialect of one's own may not say which topic it is.
        if ((push.topic ?? topic._name) === topic._name) topic._snapshot = undefined;
        if (push.topic === topic._name) {
          // Before the reply these are pushes of a subscription that was ended.
          if (!topic._pending) topic._since = push.headers["Position"] ?? topic._since;
          each(topic, (handlers) => handlers.push?.(push));
        }
      }
    },

    _ended: ended,
  };
}
