// BullMQ's side of `uso-bench queue`. The last line on stdout says how long the counted jobs took.
//
//   node app.js URL PAYLOAD add   WARM JOBS 1       one `add` after another
//   node app.js URL PAYLOAD bulk  WARM JOBS CHUNK   `addBulk`
//   node app.js URL PAYLOAD drain JOBS CONCURRENCY  one worker; from its first start to its last
'use strict';
const fs = require('node:fs');
const { Queue, Worker } = require('bullmq');

const NAME = 'bench';
const [url, payloadFile, verb, ...numbers] = process.argv.slice(2);
const { hostname: host, port } = new URL(url);
const connection = { host, port: Number(port) };
const payload = JSON.parse(fs.readFileSync(payloadFile, 'utf8'));

const seconds = () => Number(process.hrtime.bigint()) / 1e9;
// Seeds have nine digits each, so all jobs have the same size.
const data = (i) => ({ ...payload.job, seed: payload.job.seed + i });

async function submit(queue, jobs, chunk) {
  for (let i = 0; i < jobs; i += chunk) {
    const size = Math.min(chunk, jobs - i);
    if (verb === 'add') await queue.add('job', data(i));
    else await queue.addBulk(Array.from({ length: size }, (_, k) => ({ name: 'job', data: data(i + k) })));
  }
}

async function produce([warm, jobs, chunk]) {
  const queue = new Queue(NAME, { connection });
  await queue.waitUntilReady();
  await submit(queue, warm, chunk);
  const begun = seconds();
  await submit(queue, jobs, chunk);
  const took = { jobs, seconds: seconds() - begun };
  await queue.close();
  return took;
}

function drain([jobs, concurrency]) {
  return new Promise((resolve, reject) => {
    let started = 0, first, last, completed = 0;
    const worker = new Worker(NAME, async () => {
      last = seconds();
      if (started++ === 0) first = last;
      return payload.output;
    }, { connection, concurrency });
    worker.on('error', reject);
    worker.on('failed', (_, error) => reject(error));
    worker.on('completed', async () => {
      if (++completed < jobs) return;
      await worker.close();
      resolve({ jobs: jobs - 1, seconds: last - first });
    });
  });
}

(verb === 'drain' ? drain : produce)(numbers.map(Number)).then(
  (took) => console.log(JSON.stringify(took)),
  (error) => { console.error(error); process.exit(1); },
);
