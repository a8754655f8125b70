// Signs in with an API key. The page sends the key once and does not store it; scripts cannot read the
// session cookie.

import { Problem, call, onLoginNeeded, request } from './api.js';
import { clearAll, onCleared, loadItem, saveItem } from './storage.js';
import { showError } from './notices.js';

const byId = (id) => document.getElementById(id);

/** Sets up the login. `changed()` is called after a login. */
export function startSession(changed) {
  const dialog = byId('login');
  const form = byId('login-form');
  let resolveLogin = null;

  onLoginNeeded(
    () =>
      new Promise((resolve) => {
        resolveLogin = resolve;
        if (!dialog.open) dialog.showModal();
        byId('key').focus();
      }),
  );
  onCleared(() => location.reload());
  // Nothing works without a session, so the dialog stays.
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  // Browsers close it at the second Escape.
  dialog.addEventListener('close', () => {
    if (resolveLogin) dialog.showModal();
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const field = byId('key');
    const keyError = byId('key-error');
    const showKeyError = (message) => {
      keyError.textContent = message;
      keyError.hidden = !message;
      if (message) field.setAttribute('aria-invalid', 'true');
      else field.removeAttribute('aria-invalid');
    };
    const key = field.value.trim();
    if (!key) return showKeyError('Enter your API key.');
    byId('login-go').disabled = true;
    try {
      await call('POST', '/v1/session', { body: { key } });
      const { tenant } = await call('GET', '/v1/session');
      showKeyError('');
      field.value = '';
      // The stored items belong to another tenant, whose session expired. Do not show or send them.
      if (loadItem('tenant', tenant) !== tenant) return reloadEmpty();
      const resolve = resolveLogin;
      resolveLogin = null;
      dialog.close();
      resolve?.();
      changed();
    } catch (error) {
      showKeyError(error instanceof Problem && error.status === 401 ? 'This API key is not valid.' : error.message);
      field.select();
    } finally {
      byId('login-go').disabled = false;
    }
  });
  byId('sign-out').addEventListener('click', async () => {
    try {
      const response = await request('DELETE', '/v1/session');
      if (!response.ok && response.status !== 401) throw new Error('the server did not end the session');
      reloadEmpty();
    } catch (error) {
      showError(error, 'You are still signed in');
    }
  });
}

/** Clears everything and reloads the page. */
function reloadEmpty() {
  clearAll();
  // Browsers restore form fields after a reload.
  for (const form of document.forms) form.reset();
  history.replaceState(null, '', location.pathname);
  location.reload();
}

/** Shows the sign-out button if the server requires keys, and stores the tenant. */
export function showSession({ auth, tenant }) {
  if (auth === 'keys' && tenant) saveItem('tenant', tenant);
  byId('sign-out').hidden = auth !== 'keys';
  byId('sign-out').title = tenant ? `Sign out ${tenant}` : 'Sign out';
}
