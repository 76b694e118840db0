// The strip above a view: what went wrong (with a way to dismiss it) and the job that is running.

import { node } from "./dom.ts";
import { onChange, save, send, type Model } from "./model.ts";

interface Job {
  key?: string;
  title?: string;
  done?: number;
  total?: number;
}

/** Both strips; empty ones take no room. */
export function strips(model: Model, signal: AbortSignal): HTMLElement {
  const text = node("span", { class: "wk-error-text" });
  const dismiss = node("button", { type: "button", "aria-label": "Dismiss the error" }, "×");
  const error = node("div", { class: "wk-error", role: "alert", hidden: true }, text, dismiss);
  dismiss.addEventListener("click", () => save(model, { error: "" }), { signal });

  const title = node("span", { class: "wk-job-title" });
  const bar = node("progress", { "aria-label": "Progress of the running job" });
  const cancel = node("button", { type: "button" }, "Cancel");
  const job = node("div", { class: "wk-job", role: "status", hidden: true }, title, bar, cancel);
  cancel.addEventListener(
    "click",
    () => send(model, { kind: "cancel", key: (model.get("job") as Job).key ?? "" }),
    { signal },
  );

  const show = (): void => {
    const message = (model.get("error") as string) || "";
    text.textContent = message;
    error.hidden = message === "";
    const running = (model.get("job") as Job | null) ?? {};
    job.hidden = !running.key;
    title.textContent = running.title ?? "";
    if (running.total) {
      bar.max = running.total;
      bar.value = running.done ?? 0;
    } else {
      bar.removeAttribute("value"); // indeterminate
    }
  };
  onChange(model, ["error", "job"], show, signal);
  show();
  return node("div", { class: "wk-strips" }, error, job);
}
