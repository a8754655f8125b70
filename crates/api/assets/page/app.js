// Puts the page together: which view is shown, keyboard, theme, connection.

import { connection } from './shared/api.js';
import { fill, h, setText, typing } from './shared/dom.js';
import { startFeed } from './shared/feed.js';
import { enterGallery, focusSearch, startGallery } from './gallery/gallery.js';
import { enterGenerate, focusPrompt, generate, limitsChanged, startGenerate } from './generate/generate.js';
import { icon } from './shared/icons.js';
import { recall, remember } from './shared/storage.js';
import { complain, say } from './shared/notices.js';
import { enterQueue, startQueue } from './queue/queue.js';
import { readServer, server } from './shared/server.js';
import { showSession, startSession } from './shared/session.js';
import { close, open, startViewer } from './viewer/viewer.js';

const VIEWS = { generate: enterGenerate, queue: enterQueue, gallery: enterGallery };
const THEME_WORDS = { auto: 'as the system', light: 'light', dark: 'dark' };

const at = (id) => document.getElementById(id);
let shown = null;

for (const place of document.querySelectorAll('[data-icon]')) place.prepend(icon(place.dataset.icon));
startSession(readCapabilities);
startViewer();
startGenerate();
startQueue();
startGallery();
startFeed();
startConnection();
startTheme();
startKeys();
addEventListener('hashchange', route);
route();
readCapabilities();

function route() {
  const [name, id] = location.hash.slice(1).split('/');
  if (name === 'job' && id) {
    if (!shown) show('generate');
    open(decodeURIComponent(id), shown === 'generate' ? '' : shown);
    return;
  }
  close();
  show(name in VIEWS ? name : 'generate');
}

/** Changes the view at once; the browser tells of a new hash only later, when more may have been typed. */
function go(hash) {
  location.hash = hash;
  route();
}

function show(name) {
  if (shown === name) return;
  for (const view of Object.keys(VIEWS)) {
    at(`view-${view}`).hidden = view !== name;
    const link = document.querySelector(`nav [data-view=${view}]`);
    if (view === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  // Moving on by the links takes the reading place along; the first view is where it begins.
  if (shown) {
    scrollTo(0, 0);
    at(`view-${name}`).querySelector('h1').focus({ preventScroll: true });
  }
  shown = name;
  VIEWS[name]();
}

async function readCapabilities() {
  try {
    await readServer();
    limitsChanged();
    showSession(server);
    fill(
      at('about'),
      [
        server.version && `uso-fleet ${server.version}`,
        server.model && `model ${server.model}`,
        server.durability && `durability ${server.durability}`,
        server.auth === 'keys' && server.tenant && `tenant ${server.tenant}`,
        server.scripted && 'test engine: pictures are noise',
      ]
        .filter(Boolean)
        .map((text) => h('span', {}, text)),
    );
    at('scripted').hidden = !server.scripted;
  } catch (error) {
    // While the server is away the banner says so, and this is done again when it is back.
    if (!connection.away) complain(error, 'The server did not say what it can do');
  }
}

function startConnection() {
  const banner = at('banner');
  connection.addEventListener('away', () => {
    banner.hidden = false;
    banner.dataset.kind = 'away';
    setText(at('banner-text'), 'The server does not answer. Trying again; what you sent is kept.');
  });
  connection.addEventListener('back', () => {
    banner.dataset.kind = 'back';
    setText(at('banner-text'), 'The server is back.');
    setTimeout(() => {
      if (!connection.away) banner.hidden = true;
    }, 2500);
    readCapabilities();
    if (shown) VIEWS[shown]();
  });
}

function startTheme() {
  const button = at('theme');
  const paint = (theme) => {
    fill(button, icon(theme));
    button.setAttribute('aria-label', `Theme: ${THEME_WORDS[theme]}. Change`);
    button.title = `Theme: ${THEME_WORDS[theme]}`;
  };
  paint(window.usoTheme.get());
  button.addEventListener('click', () => {
    const theme = window.usoTheme.next();
    paint(theme);
    say(`Theme ${THEME_WORDS[theme]}`);
  });
}

function startKeys() {
  const help = at('help');
  const single = at('single-keys');
  single.checked = recall('keys', true);
  single.addEventListener('change', () => remember('keys', single.checked));
  at('help-open').addEventListener('click', () => help.showModal());
  for (const dialog of document.querySelectorAll('dialog')) {
    dialog.addEventListener('click', (event) => {
      if (event.target === dialog && dialog.id !== 'login') dialog.close();
    });
  }
  for (const closer of document.querySelectorAll('[data-close]')) {
    closer.addEventListener('click', () => closer.closest('dialog').close());
  }
  addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      if (shown !== 'generate' || document.querySelector('dialog[open]')) return;
      event.preventDefault();
      generate();
      return;
    }
    if (
      !single.checked ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      typing(event.target) ||
      document.querySelector('dialog[open]')
    )
      return;
    const action = {
      '/': () => (shown === 'gallery' ? focusSearch() : (go(''), focusPrompt())),
      '?': () => help.showModal(),
      g: () => go(''),
      q: () => go('queue'),
      l: () => go('gallery'),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
