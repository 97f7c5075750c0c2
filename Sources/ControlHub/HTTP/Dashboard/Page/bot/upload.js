// Sending a file to a workspace, with how far it has come.
import { ApiError, csrfHeader } from '../core/api.js';
import { h, setText } from '../core/dom.js';
import { bytes } from '../core/format.js';
import { setBar } from '../parts/pieces.js';

/** Not `fetch`, which does not tell how much of a body has been sent. Throws an `ApiError` where it fails. */
export function upload(place, { file, address, signal }) {
  const fill = h('span', { class: 'meter-fill' });
  const figure = h('span', { class: 'caption' });
  const cancel = h('button', { type: 'button', class: 'plain slim', text: 'Cancel', 'aria-label': `Cancel the upload of ${file.name}` });
  const row = h('li', { class: 'stack tight' }, h('div', { class: 'row-head' }, h('strong', { class: 'wrap', text: file.name }), figure, h('span', { class: 'actions' }, cancel)),
    h('span', { class: 'meter-bar', role: 'progressbar', 'aria-label': `Upload of ${file.name}`, 'aria-valuemin': '0', 'aria-valuemax': '100' }, fill));
  const bar = row.lastChild;
  place.append(row);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    const fail = (status, code, text) => reject(new ApiError(status, code, 'Upload failed', text));
    request.upload.addEventListener('progress', (event) => {
      const share = event.total ? (100 * event.loaded) / event.total : 0;
      setBar(fill, share);
      bar.setAttribute('aria-valuenow', Math.round(share));
      setText(figure, `${bytes(event.loaded)} of ${bytes(event.total)}`);
    });
    request.addEventListener('load', () => {
      if (request.status < 300) return resolve();
      let answer = null;
      try { answer = JSON.parse(request.responseText); } catch { /* The status tells. */ }
      return fail(request.status, answer?.code, answer?.detail ?? `${file.name} was refused with HTTP ${request.status}. Try again.`);
    });
    request.addEventListener('error', () => fail(0, 'unreachable', `${file.name} could not be sent: the connection to the hub broke. Try again.`));
    request.addEventListener('abort', () => fail(0, 'cancelled', `The upload of ${file.name} was cancelled; nothing was changed.`));
    cancel.addEventListener('click', () => request.abort());
    signal.addEventListener('abort', () => request.abort());
    request.open('PUT', address);
    request.setRequestHeader('X-CSRF-Token', csrfHeader() ?? '');
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.send(file);
  }).finally(() => row.remove());
}
