// What a page shows of a session: its state as plain data, and the levels around it (miniapr/stepper/play.py).
import { check } from "./levels.js";
import { LIMITS } from "./beginnings.js";
import { controlOf, readPlan } from "./grammar.js";
import { Decoder } from "./decoder.js";
import { Session } from "./session.js";
import { Tokenizer } from "./tokenizer.js";

const WELCOME = "The prompt is computed and lies in the pool. Try `fork 3`, or begin with `level 1`. All commands: `help`.";
const LONGEST = 400; // characters of a command

/** A model from what miniapr/stepper/engine.py writes: `file` holds the weights, the rest is plain data. */
export function bundleOf({ config, words, special, control, levels, blocks, block_size: size }, file) {
  const tokenizer = new Tokenizer({ words, control: special });
  return { model: new Decoder(config, file), tokenizer, control: controlOf(tokenizer, control), levels, blocks, size };
}

/** One learner at one page: a free session, or a level's. */
export class Play {
  constructor(bundle, prompt) {
    const tokens = bundle.tokenizer.ids(prompt.split(" "));
    Object.assign(this, { bundle, level: null, goal: null, hints: 0, solved: new Set() });
    this.free = this.session = new Session(bundle, tokens);
  }

  /** Run a command. Returns the new state; a mistake is told in it, and has changed nothing. */
  do(line) {
    try {
      if (line.length > LONGEST) throw new Error(`a command has at most ${LONGEST} characters, this one ${line.length.toLocaleString("en")}`);
      return this.state(this.run(line));
    } catch (error) {
      return this.state(error.message, true);
    }
  }

  run(line) {
    const [name, ...rest] = line.trim().split(" ");
    if (name === "level") return this.begin(rest.join(" ").trim());
    if (name === "free") return this.leave(), "No goal: try what you like.";
    if (name === "hint") return this.hint();
    if (name !== "reset") return this.session.do(line);
    const moves = this.session.history.length - (this.level?.start.length ?? 0);
    return moves > 0 ? this.session.undo(moves) : "This is the beginning.";
  }

  begin(rest) {
    const { levels } = this.bundle, level = /^\d{1,3}$/.test(rest) ? levels[Number(rest) - 1] : undefined;
    if (!level) throw new Error(`there are levels 1 to ${levels.length}, not '${rest}'`);
    Object.assign(this, { level, hints: 0, session: this.fresh(level), goal: this.fresh(level, level.solution) });
    return level.text;
  }

  /** A session at a level's start, and so many commands further. */
  fresh(level, commands = []) {
    const session = new Session(this.bundle, this.bundle.tokenizer.ids(level.prompt.split(" ")));
    for (const line of [...level.start, ...commands]) session.do(line);
    return session;
  }

  leave() {
    Object.assign(this, { session: this.free, level: null, goal: null });
  }

  /** How many items the plan has that was written last, where a fork can follow it. */
  get items() {
    const { leaves, control } = this.session;
    return leaves.length === 1 ? readPlan(leaves[0].history, control, LIMITS.width).length : 0;
  }

  hint() {
    if (!this.level) throw new Error("there is no level to give a hint for: `level 1`");
    this.hints = Math.min(this.hints + 1, this.level.hints.length);
    return this.level.hints[this.hints - 1];
  }

  /** All that a page draws. */
  state(said = WELCOME, error = false) {
    const { session, goal } = this;
    const branches = session.engine.alive.map((branch) => ({ id: branch.id, leaf: !branch.children.length, ended: session.ended(branch) }));
    const { history, focus, offers, trace } = session, future = session.future.map(({ command }) => command);
    const level = this.aboutLevel(); // first: it may have been solved just now
    const levels = this.bundle.levels.map((one) => ({ title: one.title, solved: this.solved.has(one) }));
    return { said, error, trace, goal: goal?.trace ?? null, history, future, focus, branches, offers, level, levels };
  }

  aboutLevel() {
    const { level, hints } = this;
    if (!level) return null;
    const conditions = check(level, this.session, this.goal), done = conditions.every(({ met }) => met);
    if (done) this.solved.add(level);
    return {
      number: this.bundle.levels.indexOf(level) + 1, title: level.title, text: level.text, conditions, solved: done,
      hints: level.hints.slice(0, hints), more_hints: hints < level.hints.length,
      moves: this.session.history.length - level.start.length, shortest: level.solution.length,
    };
  }
}
