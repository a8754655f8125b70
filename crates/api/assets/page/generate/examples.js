// Examples: parameters with reference pictures. Each picture is uploaded once per visit.

import { h } from '../shared/dom.js';
import { thumbs } from '../shared/storage.js';
import { prepare, store } from '../shared/pictures.js';
import { server } from '../shared/server.js';

const sources = new Map();

/** Buttons for all examples; `choose(example)` is called on a click. */
export function exampleCards(choose) {
  return server.examples.map((example) => {
    const pictures = [example.content, ...(example.styles ?? [])].filter(Boolean);
    return h(
      'button',
      { type: 'button', class: 'example', onclick: () => choose(example) },
      h(
        'span',
        { class: 'example-pictures', data: { count: pictures.length } },
        pictures.map((url) => h('img', { src: url, alt: '', loading: 'lazy', class: 'pixels' })),
        pictures.length === 0 && h('span', { class: 'example-letters', 'aria-hidden': 'true' }, 'Aa'),
      ),
      h('span', { class: 'example-title' }, example.title),
      h('span', { class: 'example-prompt' }, example.prompt || 'No prompt: keeps the layout'),
    );
  });
}

/** The source of a picture of an example; uploads it if this visit has not done so. */
export function exampleSource(url) {
  if (!sources.has(url)) {
    const storing = (async () => {
      const response = await fetch(url);
      if (!response.ok) throw new Error('a picture of this example is missing');
      const ready = await prepare(await response.blob());
      const source = await store(ready.blob, ready.type);
      thumbs.put(source, ready.thumb);
      return { source, thumb: ready.thumb, name: url.split('/').pop() };
    })();
    storing.catch(() => sources.delete(url));
    sources.set(url, storing);
  }
  return sources.get(url);
}
