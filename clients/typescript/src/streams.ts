import { StreamOverflow } from "./errors.js";
import { MAX_BUFFERED } from "./limits.js";
import type { Items } from "./types.js";

/** How an iteration ends: with an error or without. */
type End = readonly [error?: unknown];

type Reader<Item> = [resolve: (result: IteratorResult<Item, undefined>) => void, reject: (error: unknown) => void];

/** Items that are put in on one side and read with `for await` on the other. */
export class ItemBuffer<Item> implements Items<Item> {
  private _items: Item[] = [];
  private _readers: Reader<Item>[] = [];
  private _end: End | undefined;

  /** Called when the reader leaves, and when too many items wait. */
  _stop: () => void = () => {};

  _put(item: Item): void {
    if (this._end) return;
    const reader = this._readers.shift();
    if (reader) reader[0]({ value: item, done: false });
    else if (this._items.length < MAX_BUFFERED) this._items.push(item);
    else {
      this._finish([new StreamOverflow()]);
      this._stop();
    }
  }

  /** What is buffered can still be read. Then the iteration ends, with the error if there is one. */
  _finish(end: End): void {
    this._end ??= end;
    for (const reader of this._readers.splice(0)) this._read(...reader);
  }

  next(): Promise<IteratorResult<Item, undefined>> {
    return new Promise((...reader) => this._read(...reader));
  }

  /** Ends the iteration, as `break` does. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    const ended = this._end;
    this._items = [];
    this._finish((this._end = []));
    if (!ended) this._stop();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private _read(...reader: Reader<Item>): void {
    const end = this._end;
    if (this._items.length) reader[0]({ value: this._items.shift()!, done: false });
    else if (!end) this._readers.push(reader);
    else if (end.length) {
      this._end = []; // an error is thrown once
      reader[1](end[0]);
    } else reader[0]({ value: undefined, done: true });
  }
}
