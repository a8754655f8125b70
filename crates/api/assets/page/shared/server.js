// The capabilities of the server. Until they are read, the values of the USO demo apply.

import { getIfAvailable } from './api.js';

const DEFAULTS = {
  version: '',
  model: '',
  scripted: false,
  durability: '',
  auth: 'open',
  tenant: '',
  scopes: [],
  defaults: { width: 1024, height: 1024, steps: 25, guidance: 4, content_size: 512, quality: 90 },
  limits: {
    width: [512, 1536],
    height: [512, 1536],
    steps: [1, 50],
    guidance: [1, 5],
    content_size: [16, 1024],
    quality: [1, 100],
    styles: [0, 4],
    prompt_chars: 10_000,
    upload_bytes: 32 * 1024 * 1024,
  },
  upload_types: ['image/png', 'image/jpeg', 'image/webp'],
  sizes: [
    [1024, 1024],
    [1152, 896],
    [896, 1152],
    [1536, 1024],
    [1024, 1536],
  ],
  classes: ['interactive', 'bulk'],
  formats: ['png', 'jpeg', 'webp'],
  examples: [],
};

export let server = DEFAULTS;

/** Reads the capabilities. What they do not contain keeps its default. */
export async function readServer() {
  const capabilities = await getIfAvailable('/v1/capabilities');
  if (capabilities) {
    server = {
      ...DEFAULTS,
      ...capabilities,
      defaults: { ...DEFAULTS.defaults, ...capabilities.defaults },
      limits: { ...DEFAULTS.limits, ...capabilities.limits },
    };
    if (!capabilities.sizes) server.sizes = capabilities.limits ? [] : DEFAULTS.sizes;
    server.examples = Array.isArray(capabilities.examples) ? capabilities.examples : [];
  }
  return server;
}
