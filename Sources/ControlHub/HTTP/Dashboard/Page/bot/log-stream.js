// The stream of a bot's log: follows, goes on after interruptions where it stopped, and says how it is.
import { get } from '../core/api.js';
import { parse } from '../core/live.js';

/**
 * `start` is the query of the first request (`tail=200`, `since=…`). `onLines(lines)` gets each line once, `onState`
 * `live`, `interrupted` or an error. Returns how to end it.
 */
export function followLog({ path, start, onLines, onState, signal }) {
  let source = null, retryTimer = null, retryDelay = 1000;
  let nextOffset = null, lastOffset = -1;
  let isOver = false;

  function connect() {
    if (isOver || document.hidden) return;
    source = new EventSource(`${path}/logs?follow=true&${nextOffset === null ? start : `offset=${nextOffset}`}`);
    source.addEventListener('open', () => {
      retryDelay = 1000;
      onState('live');
    });
    const receive = (event) => {
      const data = parse(event.data);
      const lines = [...(data.lines ?? []), ...(data.gaps ?? []).map((gap) => ({ source: 'gap', offset: gap.offset, at: gap.at, text: gap.text ?? gap.reason ?? `${gap.missing_bytes ?? '?'} bytes are missing` }))];
      // After an interruption the stream may start again with lines that are on show already.
      const fresh = lines.filter((line) => !Number.isFinite(line.offset) || line.offset > lastOffset);
      for (const line of fresh) if (Number.isFinite(line.offset)) lastOffset = line.offset;
      nextOffset = data.next_offset ?? nextOffset;
      if (fresh.length) onLines(fresh);
    };
    source.addEventListener('message', receive);
    for (const name of ['lines', 'gap']) source.addEventListener(name, receive);
    source.addEventListener('error', async () => {
      if (isOver) return;
      onState('interrupted');
      if (source.readyState !== EventSource.CLOSED) return;
      // The stream does not tell why it was refused; a plain request does.
      try { await get(`${path}/logs?tail=1`, { signal }); } catch (error) { if (!isOver) onState(error); }
      if (isOver) return;
      retryTimer = setTimeout(connect, retryDelay);
      retryDelay = Math.min(retryDelay * 2, 15000);
    });
  }

  // A browser has few connections for one server; a tab nobody looks at gives this one back.
  const visibility = () => {
    source?.close();
    clearTimeout(retryTimer);
    connect();
  };
  document.addEventListener('visibilitychange', visibility, { signal });
  const end = () => {
    isOver = true;
    source?.close();
    clearTimeout(retryTimer);
    document.removeEventListener('visibilitychange', visibility);
  };
  signal.addEventListener('abort', end);
  connect();
  return end;
}
