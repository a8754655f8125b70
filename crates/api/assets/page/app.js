// Starts every part of the page and handles navigation, the keyboard, the theme and the connection.

import { connection } from './shared/api.js';
import { enterBatch, startBatch } from './batch/batch.js';
import { fill, h, setText, isTextInput } from './shared/dom.js';
import { startFeed } from './shared/feed.js';
import { enterGallery, focusSearch, startGallery } from './gallery/gallery.js';
import { enterGenerate, focusPrompt, generate, limitsChanged, startGenerate } from './generate/generate.js';
import { icon } from './shared/icons.js';
import { loadItem, saveItem } from './shared/storage.js';
import { showError, announce } from './shared/notices.js';
import { enterQueue, startQueue } from './queue/queue.js';
import { readServer, server } from './shared/server.js';
import { showSession, startSession } from './shared/session.js';
import { close, open, startViewer } from './viewer/viewer.js';

const VIEWS = { generate: enterGenerate, queue: enterQueue, gallery: enterGallery, batch: enterBatch };
const THEME_LABELS = { auto: 'system', light: 'light', dark: 'dark' };

const byId = (id) => document.getElementById(id);
let shown = null;

for (const element of document.querySelectorAll('[data-icon]')) element.prepend(icon(element.dataset.icon));
startSession(readCapabilities);
startViewer();
startGenerate();
startQueue();
startGallery();
startBatch();
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

/** Changes the view at once. The `hashchange` event comes later, when the next key may have been pressed. */
function goTo(hash) {
  location.hash = hash;
  route();
}

function show(name) {
  if (shown === name) return;
  for (const view of Object.keys(VIEWS)) {
    byId(`view-${view}`).hidden = view !== name;
    const link = document.querySelector(`nav [data-view=${view}]`);
    if (view === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  // Move the focus to the new view, but not when the page loads.
  if (shown) {
    scrollTo(0, 0);
    byId(`view-${name}`).querySelector('h1').focus({ preventScroll: true });
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
      byId('about'),
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
    byId('scripted').hidden = !server.scripted;
  } catch (error) {
    // While the server does not answer, the banner says so. This runs again when it answers.
    if (!connection.lost) showError(error, 'The server’s capabilities could not be loaded');
  }
}

function startConnection() {
  const banner = byId('banner');
  connection.addEventListener('lost', () => {
    banner.hidden = false;
    banner.dataset.kind = 'lost';
    setText(byId('banner-text'), 'The server does not answer. Trying again. Your jobs are kept.');
  });
  connection.addEventListener('restored', () => {
    banner.dataset.kind = 'restored';
    setText(byId('banner-text'), 'The server is back.');
    setTimeout(() => {
      if (!connection.lost) banner.hidden = true;
    }, 2500);
    readCapabilities();
    if (shown) VIEWS[shown]();
  });
}

function startTheme() {
  const button = byId('theme');
  const paint = (theme) => {
    fill(button, icon(theme));
    button.setAttribute('aria-label', `Theme: ${THEME_LABELS[theme]}. Change theme`);
    button.title = `Theme: ${THEME_LABELS[theme]}`;
  };
  paint(window.usoTheme.get());
  button.addEventListener('click', () => {
    const theme = window.usoTheme.next();
    paint(theme);
    announce(`Theme ${THEME_LABELS[theme]}`);
  });
}

function startKeys() {
  const help = byId('help');
  const single = byId('single-keys');
  single.checked = loadItem('keys', true);
  single.addEventListener('change', () => saveItem('keys', single.checked));
  byId('help-open').addEventListener('click', () => help.showModal());
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
      isTextInput(event.target) ||
      document.querySelector('dialog[open]')
    )
      return;
    const action = {
      '/': () => (shown === 'gallery' ? focusSearch() : (goTo(''), focusPrompt())),
      '?': () => help.showModal(),
      g: () => goTo(''),
      q: () => goTo('queue'),
      l: () => goTo('gallery'),
      d: () => goTo('batch'),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
