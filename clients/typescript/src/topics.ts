import type { Calls } from "./calls.js";
import { ConnectionLost, members, RouteError, safely } from "./errors.js";
import type { Host } from "./host.js";
import type { Problem, Push, Reply, Subscription, TopicHandlers } from "./types.js";

interface Subscriber {
  readonly _on: TopicHandlers;
}

interface Topic {
  readonly _name: string;
  readonly _subscribers: Set<Subscriber>;
  /** What SUBSCRIBE was answered with on this connection, as long as no push has come since. */
  _snapshot?: { _payload: unknown } | undefined;
  /** Whether a SUBSCRIBE waits for its reply, or for another try. */
  _pending?: boolean;
  _tries: number;
  _timer?: unknown;
}

/** The subscriptions of a socket, counted by the name of their topic. */
export class Topics {
  private _topics = new Map<string, Topic>();

  constructor(
    private readonly _host: Host,
    private readonly _calls: Calls,
  ) {}

  _subscribe(name: string, handlers: TopicHandlers): Subscription {
    const subscriber = { _on: handlers };
    const known = this._topics.get(name);
    const topic: Topic = known ?? { _name: name, _subscribers: new Set(), _tries: 0 };
    topic._subscribers.add(subscriber);
    if (!known) {
      this._topics.set(name, topic);
      this._request(topic);
    } else if (topic._snapshot) {
      const { _payload } = topic._snapshot;
      queueMicrotask(() => topic._subscribers.has(subscriber) && safely(() => handlers.snapshot?.(_payload as never)));
    } else if (!topic._pending && this._host._ready) {
      // Pushes have changed what the snapshot said, so all subscribers get a new one.
      this._unsubscribe(name);
      this._request(topic);
    }
    return {
      topic: name,
      unsubscribe: () => {
        if (!topic._subscribers.delete(subscriber) || topic._subscribers.size || !this._remove(topic)) return;
        if (this._host._ready) this._unsubscribe(name);
      },
    };
  }

  /** Subscribes everything again, since the connection is new. */
  _opened(): void {
    for (const topic of this._topics.values()) this._request(topic);
  }

  _lost(): void {
    for (const topic of this._topics.values()) {
      topic._snapshot = undefined;
      topic._pending = false;
      this._host._clock.clearTimeout(topic._timer);
    }
  }

  _push(push: Push): void {
    for (const topic of this._topics.values()) {
      if (push.topic !== undefined && push.topic !== topic._name) continue;
      topic._snapshot = undefined;
      if (push.topic === undefined) continue;
      for (const { _on } of [...topic._subscribers]) safely(() => _on.push?.(push));
    }
  }

  /** The server has ended or refused a subscription. */
  _ended(name: unknown, problem: Problem): void {
    const topic = this._topics.get(name as string);
    if (!topic || !this._remove(topic)) return;
    for (const { _on } of [...topic._subscribers]) safely(() => _on.ended?.(problem));
  }

  private _request(topic: Topic): void {
    if (!this._host._ready) return;
    topic._pending = true;
    const current = () => this._topics.get(topic._name) === topic;
    this._calls._start("SUBSCRIBE", { topic: topic._name }, {}, "front").then(
      ({ payload }: Reply) => {
        if (!current()) return;
        topic._pending = false;
        topic._tries = 0;
        topic._snapshot = { _payload: payload };
        for (const { _on } of [...topic._subscribers]) safely(() => _on.snapshot?.(payload as never));
      },
      (error: unknown) => {
        if (!current() || error instanceof ConnectionLost) return; // the next connection subscribes again
        const { status = 503, problem, retryAfter } = error as Partial<RouteError>;
        if (status == 409) topic._pending = false;
        else if (status < 500 && status != 429) this._ended(topic._name, members(problem));
        else {
          const delay = Math.max(this._host._backoff(topic._tries++), (retryAfter ?? 0) * 1000);
          topic._timer = this._host._later(() => this._request(topic), delay);
        }
      },
    );
  }

  private _unsubscribe(name: string): void {
    // It can only fail if there is no such subscription, or no connection.
    this._calls._start("UNSUBSCRIBE", { topic: name }, {}, "front").catch(() => {});
  }

  private _remove(topic: Topic): boolean {
    this._host._clock.clearTimeout(topic._timer);
    return this._topics.get(topic._name) === topic && this._topics.delete(topic._name);
  }
}
