// Signing in with an API key. The key goes to the server once and is kept nowhere here; the cookie
// that comes back is out of this page's reach.

import { Problem, call, onLogin, request } from './api.js';
import { forgetAll, onForgotten, recall, remember } from './storage.js';
import { complain } from './notices.js';

const at = (id) => document.getElementById(id);

/** `changed()` is called once there is a session. */
export function startSession(changed) {
  const dialog = at('login');
  const form = at('login-form');
  let done = null;

  onLogin(
    () =>
      new Promise((resolve) => {
        done = resolve;
        if (!dialog.open) dialog.showModal();
        at('key').focus();
      }),
  );
  onForgotten(() => location.reload());
  // Nothing works without a session, so there is nothing to go back to.
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  // Browsers let a second Escape through.
  dialog.addEventListener('close', () => {
    if (done) dialog.showModal();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const field = at('key');
    const wrong = at('key-error');
    const tell = (message) => {
      wrong.textContent = message;
      wrong.hidden = !message;
      if (message) field.setAttribute('aria-invalid', 'true');
      else field.removeAttribute('aria-invalid');
    };
    const key = field.value.trim();
    if (!key) return tell('Paste your API key.');
    at('login-go').disabled = true;
    try {
      await call('POST', '/v1/session', { body: { key } });
      const { tenant } = await call('GET', '/v1/session');
      tell('');
      field.value = '';
      // What lies here is somebody else's, whose session has run out: nothing of it is shown or sent.
      if (recall('tenant', tenant) !== tenant) return begin();
      const waiting = done;
      done = null;
      dialog.close();
      waiting?.();
      changed();
    } catch (error) {
      tell(error instanceof Problem && error.status === 401 ? 'This key is not known here.' : error.message);
      field.select();
    } finally {
      at('login-go').disabled = false;
    }
  });
  at('leave').addEventListener('click', async () => {
    try {
      const response = await request('DELETE', '/v1/session');
      if (!response.ok && response.status !== 401) throw new Error('the server did not end the session');
      begin();
    } catch (error) {
      complain(error, 'Still signed in');
    }
  });
}

/** Begins anew, with nothing of what was here before. */
function begin() {
  forgetAll();
  // Browsers give a form back what was typed into it.
  for (const form of document.forms) form.reset();
  history.replaceState(null, '', location.pathname);
  location.reload();
}

/** Shows whose jobs these are, where there is more than one to be. */
export function showSession({ auth, tenant }) {
  if (auth === 'keys' && tenant) remember('tenant', tenant);
  at('leave').hidden = auth !== 'keys';
  at('leave').title = tenant ? `Sign out ${tenant}` : 'Sign out';
}
