// The step in the page's address, so that one can link to it. Only a courtesy: a page inside of another one (a notebook's
// output, a book's, a sandboxed frame) has no address that it may write, and a browser may refuse one who writes often.

/** Says the step in the address, where that is allowed. */
export function write(step) {
  try {
    history.replaceState(null, "", `#step=${step}`);
  } catch {
    // Nothing that is drawn depends on it.
  }
}

/** The step that the address names, or null. */
export function read() {
  const found = /step=(\d+)/.exec(location.hash);
  return found ? Number(found[1]) : null;
}
