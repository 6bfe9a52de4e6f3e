/** The connection of the page to one channel. */
import { Routesock } from "../src/socket.js";
import { RouteError } from "../src/errors.js";
import type { State, Why } from "../src/types.js";
import type { Log } from "./log.js";
import type { Channel } from "./model.js";

export interface Session {
  readonly state: State;
  readonly why: Why | undefined;
  /** The client; `undefined` where the page does not know how frames are built. */
  readonly client: Routesock | undefined;
  connect(path: string): void;
  /** Connects if needed, and resolves when calls are sent. */
  opened(path: string): Promise<void>;
  close(): void;
  /** Writes a text as it is, and returns whether there is a connection. */
  write(text: string): boolean;
  /** Called with each change of the state. */
  onChange(callback: () => void): void;
  onNotificationError(callback: (error: RouteError) => void): void;
  token: string;
  auth: "frame" | "subprotocol";
}

export function createSession(channel: Channel, log: Log): Session {
  const listeners: (() => void)[] = [];
  const errorListeners: ((error: RouteError) => void)[] = [];
  let client: Routesock | undefined;
  let raw: WebSocket | undefined;
  let rawState: State = "idle";
  let rawWhy: Why | undefined;
  let path: string | undefined;
  const changed = () => listeners.forEach((listener) => listener());

  /** A WebSocket whose frames are logged. */
  class Logged extends WebSocket {
    constructor(url: string, protocols?: string[]) {
      super(url, protocols);
      raw = this;
      this.addEventListener("open", () => log.add("info", "Connected", null));
      this.addEventListener("message", ({ data }) => log.add("received", data, channel.keys));
      this.addEventListener("close", ({ code, reason }) => log.add("info", `Closed with ${code}${reason ? `: ${reason}` : ""}`, null));
    }

    override send(data: string): void {
      // A token has no place in a log.
      const shown = session.token ? String(data).replaceAll(JSON.stringify(session.token).slice(1, -1), "…") : data;
      log.add("sent", shown, channel.keys);
      super.send(data);
    }
  }

  function create(url: string): Routesock {
    const { route, id, payload, status, headers, topic } = channel.keys!;
    const created = new Routesock(url, {
      keys: { route, id, payload, status, headers, ...(topic ? { topic } : {}) },
      token: () => session.token || null,
      auth: session.auth,
      WebSocket: Logged as never,
      onError: (error) => error instanceof RouteError && errorListeners.forEach((listener) => listener(error)),
    });
    created.onState(changed);
    return created;
  }

  /** Without a client: one socket that does not come back. */
  function open(url: string): void {
    const target = new URL(url, location.href);
    target.protocol = target.protocol.replace("http", "ws");
    const socket = new Logged(target.href);
    const become = (state: State, why?: Why) => {
      if (raw != socket) return;
      rawState = state;
      rawWhy = why;
      changed();
    };
    become("connecting");
    socket.addEventListener("open", () => become("open"));
    socket.addEventListener("close", ({ code, reason }) => become("closed", { code, reason }));
  }

  const session: Session = {
    token: "",
    auth: "frame",
    get state() {
      return channel.keys ? (client?.state ?? "idle") : rawState;
    },
    get why() {
      return channel.keys ? client?.why : rawWhy;
    },
    get client() {
      return client;
    },
    connect(wanted) {
      if (!channel.keys) return open(wanted);
      if (client && path != wanted) {
        client.close();
        client = undefined;
      }
      path = wanted;
      client ??= create(wanted);
      client.connect();
      changed();
    },
    opened(wanted) {
      if (session.state == "open" && (path == wanted || !channel.keys)) return Promise.resolve();
      return new Promise((resolve, reject) => {
        session.connect(wanted);
        let failed = false;
        const off = client!.onState((state, why) => {
          if (state == "open") resolve();
          else if (state == "waiting" || state == "closed") {
            failed = true;
            reject(new Error(`The connection failed: ${described(why)}`));
          }
          if (state == "open" || failed) off();
        });
        if (client!.state == "open") {
          off();
          resolve();
        }
      });
    },
    close() {
      if (channel.keys) client?.close();
      else raw?.close();
      // Another token, or another way to send it, takes another client.
      client = undefined;
      changed();
    },
    write(text) {
      if (raw?.readyState != WebSocket.OPEN) return false;
      raw.send(text);
      return true;
    },
    onChange: (callback) => listeners.push(callback),
    onNotificationError: (callback) => errorListeners.push(callback),
  };
  return session;
}

/** Why a connection has ended, in words. */
export function described(why: Why | undefined): string {
  if (!why) return "no reason was given.";
  if (why.code == 1006) return "the server refused it or cannot be reached.";
  return `${why.code}${why.reason ? ` (${why.reason})` : ""}.`;
}
