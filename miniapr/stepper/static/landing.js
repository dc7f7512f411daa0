// The first page of the book: a puzzle, the model's plan, its branches decoded in one batch, and two joins side by side;
// all of it computed in the page, as it is watched. Where that cannot be, a recorded run is shown, and it is said so.
import { mount } from "./app.js";
import { answerOf, promptOf, verify } from "./engine/countdown.js";
import { drawn, problemForm } from "./problem.js";
import { Run } from "./run.js";
import { html } from "./svg.js";
import { start } from "./thinker.js";
import { tryout } from "./tryout.js";

const JOINS = [["stitch", "stitch"], ["reprefill", "re-prefill"]];
const IN_LINE = "<sequential>"; // the token that asks for one line of thought
const PARTS = 4; // of a line that finds no end
const WIDEST = 16; // branches of a fork
const SHOW = { plan: 700, branches: 900, joins: 800 }; // milliseconds that each stage is played in, on any machine
const FRAME = 40; // milliseconds between two pictures at least

/** In `root`, the trace of a recorded run with the problem that it is about. */
export function landing(root, { problem, trace }) {
  const stage = html("p", { class: "stage", role: "status" }), outcome = html("div", { class: "outcome" }), drawing = html("div", {});
  const again = html("p", { class: "again" });
  const another = html("button", { type: "button" }, "Another puzzle");
  const { form, set } = problemForm(problem, "Think", (given) => begin(given), another);
  root.append(html("div", { class: "stepper alive" }, form), html("div", { class: "stepper told" }, stage, again, outcome), drawing);
  another.addEventListener("click", () => {
    const fresh = drawn();
    set(fresh);
    begin(fresh);
  });
  const say = (text) => (stage.textContent = text);
  let app = null, engine = null, thought = 0;

  /** Load another trace into the picture. */
  function load(data, step) {
    if (app) return app.load(data, step, null);
    app = mount(drawing, data, { step, views: ["counters", "graph", "mask"] });
    tryout(app, data);
  }

  /** Say and play one stage of a thought: {name, text, data, from, ms}. */
  function play({ text, data, from, ms }, still) {
    load(data, 0);
    say(text);
    return steps(app, from, ms, still);
  }

  /** The stages of a thought that has ended, each to be played again. */
  function offer(stages) {
    const replay = (one) => {
      const mine = ++thought;
      play(one, () => mine === thought);
    };
    again.replaceChildren("Again: ", ...stages.map((one) => html("button", { type: "button", onclick: () => replay(one) }, one.name)));
  }

  /** Think about a problem; a later one ends it at its next command, for they have one engine. */
  async function begin(given) {
    const mine = ++thought, still = () => mine === thought, stages = [];
    outcome.replaceChildren();
    again.replaceChildren();
    try {
      if (!engine) say("The engine starts, in this page.");
      const thinker = await (engine ??= start());
      const show = (...ends) => outcome.replaceChildren(...ends.map(card));
      await think(thinker, given, (one) => play(stages[stages.push(one) - 1], still), show, still);
      offer(stages);
    } catch (error) {
      if (!still()) return;
      load(trace, Infinity);
      say(`The engine cannot run here (${error.message}). What you see is a recorded run.`);
      outcome.replaceChildren(...trace.runs.map((run) => card(ending(run, problem))));
    }
  }
  begin(problem);
}

/** Plan, fork, decode, join in both ways, and the same problem in line; what one stage computes is played while the next is computed. Rejects as soon
 * as it is not `still` wanted: the next one has the same engine. */
async function think(thinker, problem, play, show, still) {
  const { numbers, target } = problem, puzzle = `Make ${target} of ${numbers.join(", ")}`;
  const when = async (ready) => {
    const value = await ready;
    if (!still()) throw new Error("another puzzle has begun");
    return value;
  };
  const decode = async () => {
    const state = await when(thinker.do("decode")), tokens = Number(/^[\d,]+/.exec(state.said)[0].replace(",", ""));
    return [state, `${state.said.slice(0, -1)}; ${Math.round(tokens / thinker.seconds)} tokens a second.`];
  };
  await when(thinker.open(promptOf(problem)));
  const [plan, told] = await decode(), [alone] = plan.trace.runs, { items } = thinker;
  const first = `${puzzle}: the model ${items ? "tries once, then writes a plan" : "needs no branches"}. ${told}`;
  let playing = play({ name: items ? "plan" : "line", text: first, data: plan.trace, from: 0, ms: SHOW.plan });
  if (!items) {
    await when(playing);
    return show(ending({ ...alone, title: "in line" }, problem));
  }
  await when(thinker.do(`fork ${Math.min(items, WIDEST)}`));
  const [branches, batch] = await decode(), here = branches.history.length;
  await when(playing);
  const from = frameOf(branches.trace.runs[0], alone.events.length);
  playing = play({ name: "branches", text: `Every item of the plan is a branch of its own. ${batch}`, data: branches.trace, from, ms: SHOW.branches });
  const runs = [];
  for (const [how, title] of JOINS) {
    await when(thinker.do(`join ${how}`));
    const [{ trace, history }] = await decode();
    runs.push({ ...trace.runs[0], title });
    await when(thinker.do(`undo ${history.length - here}`));
  }
  await when(playing);
  const text = `${puzzle}: the same branches joined in two ways, stitched where they lie or computed again as one text.`;
  await when(play({ name: "joins", text, data: { ...branches.trace, runs }, from: "join", ms: SHOW.joins }));
  const ends = runs.map((run) => ending(run, problem));
  show(...ends);
  await when(thinker.open(promptOf(problem, IN_LINE)));
  let line;
  for (let part = 0; part < PARTS && !line?.branches[0].ended; part++) [line] = await decode(); // each ends after 100 tokens
  show(...ends, ending({ ...line.trace.runs[0], title: "in line, without a fork" }, problem));
}

/** The frame in which event `number` of a run is. */
function frameOf(run, number) {
  return Math.max(0, new Run(run).frames.findIndex(({ last }) => last >= number));
}

/** Steps on to the end in so many milliseconds, from a step on, or from the last join; a slow machine leaves out more. */
async function steps(app, from, milliseconds, still) {
  if (from === "join") from = app.jumps().at(-1);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) from = app.length - 1;
  const begun = performance.now(), count = app.length - 1 - from;
  for (let part = 0; part < 1 && still(); part = (performance.now() - begun) / milliseconds) {
    app.go(from + Math.round(count * part));
    await new Promise((done) => setTimeout(done, FRAME));
  }
  if (still()) app.go(app.length - 1);
}

/** What a run came to. */
function ending({ title, ...run }, problem) {
  const states = new Run({ title, ...run }), state = states.at(states.length - 1);
  const text = state.history(0).map(({ span, index }) => states.text(state.spans.get(span).tokens[index])).join(" "), answer = answerOf(text, problem);
  return { title, answer, right: verify(answer, problem), again: state.counters.recomputed, critical: state.counters.critical };
}

function card({ title, answer, right, again, critical }) {
  return html("section", { class: right ? "right" : "wrong" }, html("h2", {}, title),
    html("p", { class: "said" }, answer ? `${answer} ${right ? "\u2713" : "\u2717"}` : "no answer found"),
    html("p", {}, `${critical} tokens one after the other: that is the wait`), html("p", {}, again ? `${again} computed again for the join` : "none computed again"));
}
