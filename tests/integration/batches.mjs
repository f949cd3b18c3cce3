// The path of a GPU on the CPU: workers decode, one process has the network and looks at batches. It gives what workers
// that have the network themselves give, and when it or a worker is killed no frame is lost.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { controlAnswers, curlScore, freePort, main, modelDir, photos, run, runJson, scratch, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const WORKERS = 3;

await main(async () => {
  const dir = scratch('batches');
  const model = modelDir(dir);
  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), 12);
  const begin = async (name, inference) => {
    const port = await freePort();
    fs.mkdirSync(path.join(dir, name));
    const config = writeConfig(path.join(dir, name), `
device: {id: batches, clock: trusted}
model: {dir: ${model}, device: cpu}
inference: {workers: ${WORKERS}, queue: 64, ${inference}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/${name}/store, quota: 512MiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${port}"}
`);
    return { port, config, daemon: await startDaemon(config, controlAnswers(config)) };
  };
  const workers = (house) => runJson('status', '--json', '--config', house.config).pipeline.workers;
  const look = async (house) => {
    const replies = await Promise.all(files.map((file) => curlScore(house.port, file)));
    return replies.map((reply) => {
      assert.ok([200, 204].includes(reply.status), `${reply.status} ${reply.body}`);
      return reply.status === 204 ? [] : JSON.parse(reply.body).inferences;
    });
  };

  const whole = await begin('whole', 'batch: auto');
  assert.strictEqual(workers(whole).length, WORKERS);
  const wanted = await look(whole);
  await stop(whole.daemon);
  assert.ok(wanted.flat().length > 0, 'something is seen');

  const house = await begin('batches', `batch: ${WORKERS}, batch_wait: 50ms`);
  assert.deepStrictEqual(await look(house), wanted);
  const device = () => workers(house).find((worker) => worker.batches > 0);
  const { batches } = device();
  assert.ok(batches > 0 && batches < files.length, `${files.length} frames in ${batches} batches`);

  for (const victim of [() => device(), () => workers(house)[0]]) {
    const before = workers(house).reduce((sum, worker) => sum + worker.restarts, 0);
    const replies = look(house);
    process.kill(victim().pid, 'SIGKILL');
    assert.deepStrictEqual(await replies, wanted);
    await look(house);
    await until('a new process', () => workers(house).reduce((sum, worker) => sum + worker.restarts, 0) > before);
  }
  assert.strictEqual(runJson('status', '--json', '--config', house.config).pipeline.bad, 0);
  assert.strictEqual(run('ls', '--json', '--config', house.config).status, 0);
  await stop(house.daemon);
  console.log(`${files.length} frames in ${batches} batches of at most ${WORKERS}, as by whole workers; two processes killed, nothing lost`);
});
