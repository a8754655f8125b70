// What this server can do and allows. Until it says so, the ranges of the USO demo hold.

import { optional } from './api.js';

const DEMO = {
  version: '',
  model: '',
  scripted: false,
  durability: '',
  auth: 'open',
  tenant: '',
  scopes: [],
  defaults: { width: 1024, height: 1024, steps: 25, guidance: 4, content_size: 512 },
  limits: {
    width: [512, 1536],
    height: [512, 1536],
    steps: [1, 50],
    guidance: [1, 5],
    content_size: [16, 1024],
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
  examples: [],
};

export let server = DEMO;

/** Reads the capabilities; whatever they leave out stays as the demo has it. */
export async function readServer() {
  const told = await optional('/v1/capabilities');
  if (told) {
    server = {
      ...DEMO,
      ...told,
      defaults: { ...DEMO.defaults, ...told.defaults },
      limits: { ...DEMO.limits, ...told.limits },
    };
    if (!told.sizes) server.sizes = told.limits ? [] : DEMO.sizes;
    server.examples = Array.isArray(told.examples) ? told.examples : [];
  }
  return server;
}
