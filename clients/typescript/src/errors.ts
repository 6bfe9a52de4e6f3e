import type { FrameHeaders, Problem, Why } from "./types.js";

/** The server answered with a status from 400 on. */
export class RouteError extends Error {
  override readonly name = "RouteError";
  /** In how many seconds the server asks to try again, if it does. */
  readonly retryAfter: number | undefined;

  constructor(
    readonly route: string | null,
    readonly status: number,
    /** The payload of the reply. */
    readonly problem: Problem,
    readonly headers: FrameHeaders,
  ) {
    super(`${route}: ${status} ${problem.detail ?? problem.title ?? ""}`);
    this.retryAfter = retryAfter(problem) ?? (headers["Retry-After"] as number | undefined);
  }
}

/** There is no connection for a call, or not any longer. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";

  constructor(
    /** Whether the call was sent: if so, it may have run. */
    readonly sent: boolean,
    readonly why?: Why,
  ) {
    super(sent ? "The connection was lost before the reply." : "Not sent: there is no connection.");
  }
}

/** More than 1,000 items wait to be read. The stream was cancelled. */
export class StreamOverflow extends Error {
  override readonly name = "StreamOverflow";

  constructor() {
    super("More than 1000 items were not read.");
  }
}

/** `payload` with its members, whatever it is. */
export function members(payload: unknown): Problem {
  return (payload && typeof payload == "object" ? payload : {}) as Problem;
}

/** The seconds in the payload of an error or a CLOSE notice. A dialect may write names in camelCase. */
export function retryAfter(payload: unknown): number | undefined {
  const { retry_after, retryAfter = retry_after } = members(payload);
  return typeof retryAfter == "number" ? retryAfter : undefined;
}

/** Reports what a callback has thrown, as the platform reports errors of event listeners. */
export function report(error: unknown): void {
  (globalThis.reportError ?? console.error)(error);
}

/** Calls `callback`, and reports what it throws. */
export function safely(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    report(error);
  }
}
