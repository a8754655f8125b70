// Sets of parameters and pictures to begin with. Their pictures go to the store once for each visit.

import { h } from '../shared/dom.js';
import { thumbs } from '../shared/storage.js';
import { prepare, store } from '../shared/pictures.js';
import { server } from '../shared/server.js';

const sources = new Map();

/** Cards to click on; `take(example)` gets the one chosen. */
export function exampleCards(take) {
  return server.examples.map((example) => {
    const pictures = [example.content, ...(example.styles ?? [])].filter(Boolean);
    return h(
      'button',
      { type: 'button', class: 'example', onclick: () => take(example) },
      h(
        'span',
        { class: 'example-pictures', data: { count: pictures.length } },
        pictures.map((address) => h('img', { src: address, alt: '', loading: 'lazy', class: 'pixels' })),
        pictures.length === 0 && h('span', { class: 'example-words', 'aria-hidden': 'true' }, 'Aa'),
      ),
      h('span', { class: 'example-title' }, example.title),
      h('span', { class: 'example-prompt' }, example.prompt || 'No prompt: the layout is kept'),
    );
  });
}

/** The source of an example's picture, stored now if this visit has not done so. */
export function exampleSource(address) {
  if (!sources.has(address)) {
    const storing = (async () => {
      const response = await fetch(address);
      if (!response.ok) throw new Error('the picture of this example is not there');
      const ready = await prepare(await response.blob());
      const source = await store(ready.blob, ready.type);
      thumbs.put(source, ready.thumb);
      return { source, thumb: ready.thumb, name: address.split('/').pop() };
    })();
    storing.catch(() => sources.delete(address));
    sources.set(address, storing);
  }
  return sources.get(address);
}
