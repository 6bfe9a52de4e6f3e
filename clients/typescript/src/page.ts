/** The events of the page that say that time was lost, or is about to be. None of them exists in Node.js. */
export class Page {
  private _off: (() => void)[] = [];

  constructor(
    private readonly _wake: () => void,
    private readonly _freeze: () => void,
  ) {}

  _hidden(): boolean {
    return globalThis.document?.visibilityState == "hidden";
  }

  _listen(): void {
    const { document, addEventListener } = globalThis;
    if (!document || !addEventListener) return;
    const on = (target: EventTarget, names: string[], listener: (event: Event) => void) => {
      for (const name of names) {
        target.addEventListener(name, listener);
        this._off.push(() => target.removeEventListener(name, listener));
      }
    };
    on(globalThis as unknown as EventTarget, ["online", "pageshow"], this._wake);
    on(document, ["resume"], this._wake);
    on(document, ["visibilitychange"], () => this._hidden() || this._wake());
    on(globalThis as unknown as EventTarget, ["pagehide"], (event) => {
      if ((event as PageTransitionEvent).persisted) this._freeze();
    });
  }

  _forget(): void {
    for (const off of this._off.splice(0)) off();
  }
}
