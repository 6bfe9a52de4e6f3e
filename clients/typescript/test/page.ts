import { getEventListeners, setMaxListeners } from "node:events";

/** A page around the socket: what the client reads of `document` and `window`, until `remove()`. */
export class FakePage {
  readonly window = new EventTarget();
  readonly document = Object.assign(new EventTarget(), { visibilityState: "visible" });

  constructor() {
    setMaxListeners(0, this.window, this.document);
    Object.assign(globalThis, {
      document: this.document,
      addEventListener: this.window.addEventListener.bind(this.window),
    });
  }

  /** The number of listeners that are set. */
  get listening(): number {
    const pairs: [EventTarget, string][] = [
      ...["online", "pageshow", "pagehide"].map((name): [EventTarget, string] => [this.window, name]),
      ...["visibilitychange", "resume"].map((name): [EventTarget, string] => [this.document, name]),
    ];
    return pairs.reduce((sum, [target, name]) => sum + getEventListeners(target, name).length, 0);
  }

  hide(): void {
    this.document.visibilityState = "hidden";
    this.document.dispatchEvent(new Event("visibilitychange"));
  }

  show(): void {
    this.document.visibilityState = "visible";
    this.document.dispatchEvent(new Event("visibilitychange"));
  }

  /** `online`, `pageshow` or `pagehide`. */
  emit(name: string, persisted = false): void {
    this.window.dispatchEvent(Object.assign(new Event(name), { persisted }));
  }

  /** The page goes on after it was frozen. */
  resume(): void {
    this.document.dispatchEvent(new Event("resume"));
  }

  remove(): void {
    for (const name of ["document", "addEventListener"]) {
      delete (globalThis as Record<string, unknown>)[name];
    }
  }
}
