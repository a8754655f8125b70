// Replicate's client for JavaScript; says on stdout what it saw, as JSON.
//   node replicate.mjs API KEY PICTURE WEBHOOK
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const [api, auth, picture, webhook] = process.argv.slice(2);
const Replicate = createRequire(`${process.env.USO_CLIENT_TOOLS}/`)('replicate');
const replicate = new Replicate({ auth, baseUrl: `${api}/v1` });
const input = { prompt: 'the star is at the left on a green field', seed: 101, steps: 4 };
const seen = {};

const bytes = async (file) => Buffer.from(await (await file.blob()).arrayBuffer());

const [file] = await replicate.run('uso/mini', { input: { ...input, content: await readFile(picture) } });
seen.picture = (await bytes(file)).subarray(1, 4).toString();

const content = `data:image/png;base64,${(await readFile(picture)).toString('base64')}`;
const poll = { mode: 'poll', interval: 50 };
const [polled] = await replicate.run('uso/mini', { input: { ...input, content }, wait: poll });
seen.polled = (await bytes(polled)).subarray(1, 4).toString();

const slow = { ...input, steps: 100, width: 256, height: 256 };
seen.events = [];
for await (const event of replicate.stream('uso/mini', { input: slow })) seen.events.push(event.event);

const begun = await replicate.predictions.create({ model: 'uso/mini', input: { ...slow, class: 'bulk' } });
await replicate.predictions.cancel(begun.id);
seen.canceled = (await replicate.wait(begun, { interval: 50 })).status;

const told = await replicate.predictions.create({ model: 'uso/mini', input, webhook, webhook_events_filter: ['completed'] });
seen.told = told.id;
seen.secret = (await replicate.webhooks.default.secret.get()).key;
seen.refused = await replicate.run('uso/mini', { input: { steps: 0 } }).catch((error) => error.message);
console.log(JSON.stringify(seen));
