import type { Problem } from "./types.js";

/** `payload` with its members, whatever it is. */
export function members(payload: unknown): Problem {
  return (Object(payload) === payload ? payload : {}) as Problem;
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
