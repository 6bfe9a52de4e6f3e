// The events of a page that say that time was lost, or is about to be. Node.js has none of them.

/** Whether there is a page, and nobody sees it. */
export const isHidden = (): boolean => globalThis.document?.visibilityState == "hidden";

/** Calls `wake` when the page can be used again, and `freeze` when it enters the back/forward cache, until `signal`. */
export function watchPage(wake: () => void, freeze: () => void, signal: AbortSignal): void {
  if (!globalThis.document) return;
  const visible = () => isHidden() || wake();
  for (const name of ["online", "pageshow"]) addEventListener(name, wake, { signal });
  for (const name of ["visibilitychange", "resume"]) document.addEventListener(name, visible, { signal });
  addEventListener("pagehide", (event) => event.persisted && freeze(), { signal });
}
