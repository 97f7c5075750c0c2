// JSON as somebody wrote it. Numbers in a bot's configuration or packets may have more digits than JavaScript keeps, and
// `1.0` is not for this page to make `1` of: such texts are shown and sent back as they are.

const tokens = /"[^"\\]*(?:\\[^][^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** The texts of all members of a name in a JSON text, in order; what lies inside of one is not looked through. */
export function written(text, name) {
  const found = [], key = JSON.stringify(name);
  let before = '', isNamed = false, start = -1, depth = 0;
  for (const match of text.matchAll(tokens)) {
    const token = match[0];
    if (start < 0 && isNamed) start = match.index;
    if (start >= 0) {
      if (token === '{' || token === '[') depth += 1;
      if (token === '}' || token === ']') depth -= 1;
      if (depth === 0) {
        found.push(text.slice(start, match.index + token.length));
        start = -1;
      }
      isNamed = false;
    } else {
      isNamed = token === ':' && before === key;
    }
    before = token;
  }
  return found;
}

/** A JSON text with a line for each member and item, as `JSON.stringify(value, null, 2)` lays it out, every token as it is. */
export function laidOut(text) {
  const parts = [];
  let before = '', depth = 0;
  const line = () => parts.push('\n', '  '.repeat(depth));
  const opens = (token) => token === '{' || token === '[';
  for (const [token] of text.matchAll(tokens)) {
    if (token === '}' || token === ']') {
      depth -= 1;
      if (!opens(before)) line();
    } else if (opens(before) || before === ',') {
      line();
    } else if (before === ':') {
      parts.push(' ');
    }
    parts.push(token);
    if (opens(token)) depth += 1;
    before = token;
  }
  return parts.join('');
}

/** A JSON object to send, with one member as it is written. Whoever calls has seen that it is JSON. */
export function withWritten(members, name, text) {
  const rest = JSON.stringify(members).slice(1, -1);
  return `{${rest}${rest && ','}${JSON.stringify(name)}:${text}}`;
}
