// The level under way: what is asked for, how it stands, the goal beside it.

import { html } from "./svg.js";
import { mount } from "./app.js";

/** Draws levels into `root`; `run(line)` gives a command. Returns what draws a new state. */
export function levels(root, run) {
  const choice = html("select", { id: "level-choice", "aria-label": "Level" });
  const card = html("section", { class: "level", "aria-labelledby": "level-title" });
  const drawing = html("div", { class: "goal-drawing" });
  const goal = html("details", { class: "goal", open: true }, html("summary", {}, "The goal"), drawing);
  let drawn = null;
  let view = null;
  choice.addEventListener("change", () => run(choice.value));
  root.append(html("div", { class: "level-bar" }, html("h1", {}, "miniapr play"), html("label", { for: "level-choice" }, "Level"), choice), card);

  return {
    goal,
    show(state) {
      const { level } = state;
      choice.replaceChildren(
        html("option", { value: "free" }, "free play"),
        ...state.levels.map(({ title, solved }, i) =>
          html("option", { value: `level ${i + 1}` }, `${solved ? "\u2713 " : ""}${i + 1}. ${title}`)),
      );
      choice.value = level ? `level ${level.number}` : "free";
      card.hidden = !level;
      goal.hidden = !level;
      if (level) card.replaceChildren(...contents(level, state.levels.length, run));
      if (drawn !== (level?.number ?? null)) {
        drawn = level?.number ?? null;
        view?.destroy();
        view = level ? mount(drawing, state.goal, { step: Infinity, views: ["graph", "mask"], controls: false }) : null;
      }
    },
    destroy: () => view?.destroy(),
  };
}

function* contents(level, count, run) {
  yield html("h2", { id: "level-title" }, `${level.number}. ${level.title}`);
  yield html("p", {}, ...code(level.text));
  yield html("ul", { class: "conditions" }, ...level.conditions.map(({ text, met }) =>
    html("li", { class: met ? "met" : "open" },
      html("span", { "aria-hidden": "true" }, met ? "\u2713 " : "\u25CB "), text,
      html("span", { class: "unseen" }, met ? " (met)" : " (not yet)"))));
  for (const hint of level.hints) yield html("p", { class: "hint" }, ...code(hint));
  if (level.solved) {
    const moves = `${level.moves} command${level.moves === 1 ? "" : "s"}`;
    const best = level.moves <= level.shortest ? "" : `; ${level.shortest} would do`;
    yield html("p", { class: "solved", role: "status" }, `Solved with ${moves}${best}.`);
  }
  const buttons = [];
  if (level.more_hints && !level.solved) buttons.push(["hint", level.hints.length ? "Another hint" : "Hint"]);
  if (level.moves > 0) buttons.push(["reset", "Start over"]);
  if (level.number < count) buttons.push([`level ${level.number + 1}`, "Next level"]);
  yield html("div", { class: "level-buttons" }, ...buttons.map(([line, text]) =>
    html("button", { type: "button", class: level.solved && text === "Next level" ? "main" : "", onclick: () => run(line) }, text)));
}

/** Text in which `commands` stand between backquotes. */
export function code(text) {
  return text.split("`").map((part, i) => (i % 2 ? html("code", {}, part) : part));
}
