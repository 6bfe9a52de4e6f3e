/** Elements, whose texts are always text: nothing here parses HTML. */

export type Child = Node | string | number | null | undefined | false | readonly Child[];

type Listeners = { [Name in keyof HTMLElementEventMap as `on${Name}`]?: (event: HTMLElementEventMap[Name]) => void };
type Attributes = { readonly [name: string]: unknown } & Listeners;

/** Creates an element. `onclick` and the like become listeners; `true` and `false` say whether an attribute is there. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes | null = null,
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value == "function") element.addEventListener(key.slice(2), value as EventListener);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, String(value));
  }
  append(element, children);
  return element;
}

function append(element: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child as Child[]);
    else if (child || child === 0) element.append(child as Node | string);
  }
}

/** Replaces what is in `element`. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

/** Runs `callback` when `delay` milliseconds have passed since the last call. */
export function debounced(callback: () => void, delay: number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(callback, delay);
  };
}

let lastId = 0;

/** Returns an id that no other element has. */
export function newId(): string {
  return `r${++lastId}`;
}

/** A text in paragraphs: an empty line starts a new one. */
export function paragraphs(text: string | undefined, name = "text"): Child {
  return (text ?? "")
    .split(/\n\s*\n/)
    .filter((part) => part.trim())
    .map((part) => h("p", { class: name }, part.trim()));
}
