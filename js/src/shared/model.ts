// The one place that talks to the kernel: a narrow type of what anywidget hands to a view.

/** What of an anywidget model a view may use. */
export interface Model {
  get(key: string): unknown;
  set(key: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: (...values: never[]) => void): void;
  off(event: string, callback: (...values: never[]) => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: (ArrayBuffer | ArrayBufferView)[]): void;
}

export interface RenderProps {
  model: Model;
  el: HTMLElement;
}

/** How a gesture joins what is already selected. */
export type Mode = "replace" | "add" | "subtract" | "intersect";

/** Calls `callback` when one of the traits changes (once a message), until `signal` aborts. */
export function onChange(
  model: Model,
  traits: readonly string[],
  callback: () => void,
  signal: AbortSignal,
): void {
  let waiting = false;
  // One message may change several traits; the microtask makes one call of them.
  const once = (): void => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      if (!signal.aborted) callback();
    });
  };
  for (const trait of traits) {
    model.on(`change:${trait}`, once);
    signal.addEventListener("abort", () => model.off(`change:${trait}`, once));
  }
}

/** A custom message from the kernel, until `signal` aborts. */
export function onMessage<T extends { kind: string }>(
  model: Model,
  callback: (content: T, buffers: DataView[]) => void,
  signal: AbortSignal,
): void {
  const listener = (content: T, buffers: DataView[]): void => callback(content, buffers ?? []);
  model.on("msg:custom", listener as (...values: never[]) => void);
  signal.addEventListener("abort", () => {
    model.off("msg:custom", listener as (...values: never[]) => void);
  });
}

/** Sends a custom message; the kernel's handler is named by `kind`. */
export function send(
  model: Model,
  content: { kind: string } & Record<string, unknown>,
  buffers: (ArrayBuffer | ArrayBufferView)[] = [],
): void {
  model.send(content, undefined, buffers);
}

/** Writes traits that only the front-end changes. */
export function save(model: Model, traits: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(traits)) model.set(key, value);
  model.save_changes();
}
