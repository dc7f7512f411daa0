// Words to ids and back, with a wall between text and control (miniapr/model/tokenizer.py): of a vocabulary of words.

export class Tokenizer {
  /** `words`: the text of every id; `control`: the names of control tokens, which text never becomes. */
  constructor({ words, control }) {
    this.words = words;
    this.known = new Map(words.map((word, id) => [word, id]));
    this.control = new Set(control);
  }

  /** Ids of ordinary text. Throws an Error for a word that the model does not know. */
  encode(text) {
    return text.split(/\s+/).filter(Boolean).map((word) => {
      if (!this.known.has(word) || this.control.has(word)) throw new Error(`this model has no token for '${word}'`);
      return this.known.get(word);
    });
  }

  /** The id of one token by its exact name, control tokens included. */
  id(name) {
    if (!this.known.has(name)) throw new Error(`this model has no token '${name}'`);
    return this.known.get(name);
  }

  /** Ids of tokens by their exact names, control tokens included: not for what a user wrote. */
  ids(names) {
    return names.map((name) => this.id(name));
  }

  decode(ids) {
    return ids.map((id) => this.words[id]).join(" ");
  }
}
