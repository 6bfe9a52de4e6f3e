// What all pages have: the state of the connection in the header, and how a call went.

import { ConnectionLost, RouteError, type Api, type Reply, type Routesock, type State } from "routesock";

/** The element with this id, which has to be in the template. */
export function find<E extends HTMLElement = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element #${id}.`);
  return found as E;
}

/** A new element with a text, which is never read as HTML. */
export function element<N extends keyof HTMLElementTagNameMap>(
  name: N,
  text = "",
  properties: Partial<HTMLElementTagNameMap[N]> = {},
): HTMLElementTagNameMap[N] {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}

/** Shows in the header what the connection is doing, and ends it for good when the user is signed out. */
export function showConnection<T extends Api>(socket: Routesock<T>): void {
  const status = find("connection");
  let signedOut = false;
  let isNew = true;

  function show(): void {
    const { state, why } = socket;
    const texts: Record<State, string> = {
      idle: "Connecting…",
      connecting: isNew ? "Connecting…" : "Reconnecting…",
      authenticating: "Signing in…",
      open: "Connected",
      waiting: navigator.onLine ? "Connection lost. Reconnecting…" : "You are offline. Reconnecting when you are back.",
      closed: signedOut ? "You are no longer signed in." : `Connection ended: ${why?.reason}`,
    };
    status.dataset["state"] = state;
    status.textContent = texts[state];
    find("log-in").hidden = !signedOut;
  }

  socket.onState(async (state, why) => {
    isNew &&= state !== "open";
    signedOut ||= state === "closed" && why?.code === 4401;
    show();
    // A browser does not say why a server has refused a WebSocket, so ask the page: it redirects to the login page.
    if (state === "waiting" && why?.code === 1006 && (await isSignedOut())) {
      signedOut = true;
      socket.close();
    }
  });
  addEventListener("offline", show);
  addEventListener("online", show);
}

async function isSignedOut(): Promise<boolean> {
  try {
    return (await fetch(location.href, { method: "HEAD", redirect: "manual" })).type === "opaqueredirect";
  } catch {
    return false; // the server is down
  }
}

/** What is shown of a call, or of a form that was posted. */
export interface Outcome {
  /** `undefined`: there was no reply. */
  status?: number | undefined;
  detail?: string | undefined;
  /** Messages by the name of the field. */
  errors?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** How a call that has failed went. What is no failure of a call is thrown again. */
export function outcomeOf(error: unknown, explain: (error: RouteError) => string | undefined = () => undefined): Outcome {
  if (error instanceof RouteError) {
    const { status, problem, retryAfter } = error;
    const wait = retryAfter === undefined ? "" : `Try again in ${retryAfter} s.`;
    return { status, detail: [problem.detail, explain(error), wait].filter(Boolean).join(" "), errors: problem.errors };
  }
  if (error instanceof ConnectionLost) {
    // The client has not sent it again, and neither should you before you know.
    return { detail: error.sent ? "The connection was lost. It may have arrived: look before you repeat it." : "Not sent." };
  }
  if (error instanceof DOMException) return { detail: error.message }; // TimeoutError
  throw error;
}

/** Waits for a call, has `show` show how it went, and returns the payload of the reply. */
export async function settled<P>(
  call: Promise<Reply<P>>,
  show: (outcome: Outcome) => void,
  explain?: (error: RouteError) => string | undefined,
): Promise<P | undefined> {
  try {
    const { status, payload } = await call;
    show({ status });
    return payload;
  } catch (error) {
    show(outcomeOf(error, explain));
    return undefined;
  }
}

/** Writes an outcome into `output`, as in "message.send → 201". */
export function showOutcome(output: HTMLElement, name: string, { status, detail }: Outcome): void {
  output.textContent = `${name} → ${status ?? "no reply"}${detail ? `: ${detail}` : ""}`;
  output.dataset["kind"] = status !== undefined && status < 400 ? "good" : "bad";
}
