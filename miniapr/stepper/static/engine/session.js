// A tree of branches driven by short commands, with undo (miniapr/stepper/session.py). After every command the tree is
// committed; undo and redo are checkouts. What is drawn is the straight line to the present state.
import { LIMITS, number } from "./beginnings.js";
import { CHANGES, offers, Tree } from "./commands.js";
import { Engine, VERSION } from "./engine.js";

export class Session extends Tree {
  /** `bundle`: {model, tokenizer, control, blocks, size}; `tokens`: of the prompt. */
  constructor({ model, tokenizer, control, blocks, size }, tokens) {
    super(new Engine(model, tokenizer, { blocks, size, limits: LIMITS }), control, tokens);
    this.past = [this.moment("start", 0, {})];
    this.future = [];
  }

  get now() {
    return this.past.at(-1);
  }

  get history() {
    return this.past.slice(1).map(({ command }) => command);
  }

  get offers() {
    return [...offers(this), ...(this.history.length ? ["undo"] : []), ...(this.future.length ? ["redo"] : [])];
  }

  /** What all commands that led here have cost. What was undone does not count. */
  get cost() {
    const total = {};
    for (const { cost } of this.past) for (const [name, amount] of Object.entries(cost)) total[name] = (total[name] ?? 0) + amount;
    return total;
  }

  /** The trace of all that led here (miniapr/stepper/trace.py). */
  get trace() {
    const { kv, tokenizer } = this.engine, events = this.past.flatMap((moment) => moment.events);
    const said = new Set(events.flatMap(({ kind, data }) => [
      ...(data.tokens ?? []), ...(kind === "decoded" ? [data.token] : []),
      ...(kind === "forked" ? data.children.flatMap((child) => child.tokens) : []),
    ]));
    const texts = Object.fromEntries([...said].sort((a, b) => a - b).map((id) => [id, tokenizer.decode([id])]));
    const about = { texts, block_size: kv.size, blocks: kv.count, block_bytes: kv.bytesPerBlock };
    return { miniapr_trace: VERSION, runs: [{ title: "", about, events }] };
  }

  moment(command, begun, before) {
    const commit = this.engine.commit();
    const cost = Object.fromEntries(Object.entries(this.engine.cost).map(([name, amount]) => [name, amount - (before[name] ?? 0)]));
    return { command, focus: this.focus, events: this.engine.events.slice(begun), cost, commit };
  }

  go() {
    this.engine.checkout(this.now.commit);
    this.focus = this.now.focus;
  }

  undo(count) {
    if (!this.history.length) throw new Error("there is nothing to undo");
    this.future.unshift(...this.past.splice(Math.max(1, this.past.length - count)));
    this.go();
    return `Back to before \`${this.future[0].command}\`: nothing was computed, nothing was moved.`;
  }

  redo(count) {
    if (!this.future.length) throw new Error("there is nothing to redo");
    this.past.push(...this.future.splice(0, count));
    this.go();
    return `Forward to after \`${this.now.command}\`: nothing was computed, nothing was moved.`;
  }

  /** Run one command. Returns what happened, in words. Throws an Error if it cannot be done; nothing has changed then. */
  do(line) {
    const [word = "", ...words] = line.split(/\s+/).filter(Boolean), name = word.toLowerCase(), rest = words.join(" ");
    if (Object.hasOwn(TRAVEL, name)) return TRAVEL[name][2](this, rest);
    if (!Object.hasOwn(CHANGES, name)) throw new Error(`no command is called '${name}'; \`help\` lists them`);
    const begun = this.engine.events.length, before = { ...this.engine.cost };
    let said;
    try {
      said = CHANGES[name][2](this, rest);
    } catch (error) {
      this.go(); // a command happens as a whole or not at all
      throw error;
    }
    for (const { commit } of this.future) this.engine.forget(commit);
    this.future = [];
    this.past.push(this.moment(`${name} ${rest}`.trim(), begun, before));
    return said;
  }
}

function count(session, rest, example) {
  return Math.max(rest === "all" ? session.history.length + session.future.length : number(rest || "1", example), 1);
}

const TRAVEL = {
  undo: ["undo", "go back one command; also `undo 3`, `undo all`", (session, rest) => session.undo(count(session, rest, "undo 3"))],
  redo: ["redo", "go forward again; also `redo 3`, `redo all`", (session, rest) => session.redo(count(session, rest, "redo 3"))],
  help: ["help", "this list", () => Object.values({ ...CHANGES, ...TRAVEL }).map(([example, purpose]) => `\`${example}\`: ${purpose}`).join("\n")],
};
