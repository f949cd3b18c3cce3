// Manifests as a table: DuckDB reads the folder of a directory remote, and a download of Azurite's, with no code of
// ours, and finds what `creel ls --json` says; every row has the published shape; two kill -9 repeat and lose none.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import {
  account, accountKey, answers, azureBlobs, curlScore, freePort, main, modelDir, nodeDir, photos, run, runJson,
  scratch, sleep, sourceDir, startAzurite, startDaemon, stop, until, writeConfig,
} from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const Ajv = require('ajv/dist/2020').default;
const { DuckDBInstance } = require('@duckdb/node-api');

const PHOTOS = 60;
const COLUMNS = ['id', 'camera', 'tier', 'captured', 'clock', 'kept', 'sha256', 'media', 'orientation', 'phash', 'rule'];
const NUMBERS = ['seq', 'bytes', 'width', 'height', 'value'];

function frames(config) {
  const rows = [];
  for (let after = ''; ;) {
    const page = run('ls', '--json', '--limit', '50', '--config', config, ...(after ? ['--after', after] : []));
    assert.strictEqual(page.status, 0, page.stderr);
    rows.push(...page.stdout.toString().trim().split('\n').filter(Boolean).map((line) => JSON.parse(line)));
    after = (page.stderr.match(/--after (\S+)/) || [])[1];
    if (!after) return rows;
  }
}

async function post(port, files) {
  for (const file of files) {
    for (let reply = { failed: true }; reply.failed || reply.status === 503;) {
      reply = await curlScore(port, file, '?wait=stored&stream=door');
      if (reply.failed) await sleep(100);
    }
  }
}

const partsIn = (dir) => fs.readdirSync(dir, { recursive: true }).filter((name) => name.endsWith('.jsonl'));

const linesIn = (dir) => partsIn(dir).flatMap((part) =>
  fs.readFileSync(path.join(dir, part), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line)));

async function query(dir, sql) {
  const connection = await (await DuckDBInstance.create(':memory:')).connect();
  await connection.run("SET TimeZone = 'UTC'");
  await connection.run(`CREATE VIEW manifest AS SELECT * FROM
    read_json('${dir}/manifests/v1/*/*/*.jsonl', format = 'newline_delimited', hive_partitioning = true,
      union_by_name = true, convert_strings_to_integers = false, sample_size = -1)`);
  return (await connection.runAndReadAll(sql)).getRowObjectsJson();
}

const utc = (text) => new Date(/Z$/.test(text) ? text : `${text.replace(' ', 'T')}Z`).toISOString();

async function checkTable(dir, expected) {
  const [sum] = await query(dir, `SELECT count(*)::INT AS rows, count(DISTINCT id)::INT AS ids, min(row)::INT AS first,
    max(row)::INT AS last, count(DISTINCT store)::INT AS stores, any_value(device) AS device, sum(bytes)::INT AS bytes
    FROM manifest WHERE event = 'kept'`);
  assert.deepStrictEqual(sum, {
    rows: expected.length, ids: expected.length, first: 1, last: expected.length, stores: 1, device: 'test-device',
    bytes: expected.reduce((total, frame) => total + frame.bytes, 0),
  });
  const byTier = await query(dir, 'SELECT tier, count(*)::INT AS n FROM manifest GROUP BY tier ORDER BY tier');
  for (const { tier, n } of byTier) assert.strictEqual(n, expected.filter((frame) => frame.tier === tier).length);
  const rows = new Map((await query(dir, 'SELECT * FROM manifest')).map((row) => [row.id, row]));
  for (const frame of expected) {
    const row = rows.get(frame.id);
    assert.ok(row, `${frame.id} has no row`);
    for (const column of COLUMNS) {
      const isTime = column === 'captured' || column === 'kept';
      assert.strictEqual(isTime ? utc(row[column]) : String(row[column]), String(frame[column]), `${frame.id}.${column}`);
    }
    for (const column of NUMBERS) assert.strictEqual(Number(row[column]), frame[column], `${frame.id}.${column}`);
    assert.deepStrictEqual(row.model, frame.model);
    assert.deepStrictEqual(row.quality, frame.quality);
    // The list has what is above the index's floor, the manifest all of it, both most confident first.
    assert.ok(row.detections.length >= frame.detections.length);
    frame.detections.forEach((found, i) => {
      assert.deepStrictEqual({ ...row.detections[i], class_index: Number(row.detections[i].class_index) }, found);
    });
  }
  const [best] = await query(dir, `SELECT count(*)::INT AS n FROM
    (SELECT unnest(detections) AS d FROM manifest) WHERE d.confidence >= 0.5`);
  assert.strictEqual(best.n, expected.flatMap((frame) => frame.detections).filter((d) => d.confidence >= 0.5).length);
}

function rowValidator() {
  const schema = JSON.parse(fs.readFileSync(path.join(sourceDir, 'schemas/manifest.schema.json'), 'utf8'));
  return new Ajv({ allErrors: true, strict: false }).compile(schema);
}

function checkLines(dir, root, expected) {
  const validate = rowValidator();
  const lines = linesIn(path.join(dir, 'manifests'));
  assert.strictEqual(lines.length, expected.length);
  for (const line of lines) {
    assert.ok(validate(line), `${JSON.stringify(line)}: ${JSON.stringify(validate.errors)}`);
    if (root) assert.strictEqual(fs.statSync(path.join(root, line.key)).size, line.bytes);
  }
}

await main(async () => {
  const dir = scratch('manifest');
  const nas = path.join(dir, 'nas');
  const download = path.join(dir, 'download');
  const [azuritePort, ingestPort] = [await freePort(), await freePort()];
  fs.mkdirSync(path.join(dir, 'azurite'));
  const azurite = await startAzurite(path.join(dir, 'azurite'), azuritePort);
  const config = writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${modelDir(dir)}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 2GiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
sync:
  manifests: {rows: 16, age: 1s}
  remotes:
    nas: {type: directory, path: ${nas}}
    cloud:
      type: azure
      create_containers: true
      connection_string: "DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};BlobEndpoint=http://127.0.0.1:${azuritePort}/${account};"
`);
  const ready = answers(`http://127.0.0.1:${ingestPort}/`);
  let daemon = await startDaemon(config, ready);
  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), PHOTOS);
  for (let life = 0; life < 3; life++) {
    await post(ingestPort, files.slice((life * PHOTOS) / 3, ((life + 1) * PHOTOS) / 3));
    if (life === 2) break;
    await stop(daemon, 'SIGKILL');
    daemon = await startDaemon(config, ready);
  }
  const sync = run('sync', '--wait', '--timeout', '120', '--config', config);
  assert.strictEqual(sync.status, 0, sync.stderr + sync.stdout);
  const expected = frames(config);
  assert.ok(expected.length > PHOTOS / 2, 'too little was kept to show anything');
  await until('all rows', () => fs.existsSync(path.join(nas, 'manifests')) &&
    linesIn(path.join(nas, 'manifests')).length >= expected.length);
  const remotes = () => runJson('status', '--json', '--config', config).sync;
  await until('all parts', () => remotes().every((remote) => remote.manifest.waiting === 0));
  await sleep(1500); // a row too many would come now

  checkLines(nas, nas, expected);
  await checkTable(nas, expected);
  await until('all rows in the cloud', async () => {
    for (const blob of await azureBlobs(azuritePort, 'creel')) {
      fs.mkdirSync(path.dirname(path.join(download, blob.name)), { recursive: true });
      fs.writeFileSync(path.join(download, blob.name), blob.bytes);
    }
    return fs.existsSync(download) && linesIn(path.join(download, 'manifests')).length >= expected.length;
  });
  checkLines(download, null, expected);
  await checkTable(download, expected);
  // What is removed there is a later row, and the last word on that frame.
  const [victim] = expected;
  const removed = run('rm', '--remote', '--force', victim.id, '--config', config);
  assert.strictEqual(removed.status, 0, removed.stderr);
  await until('the deletion row', () => linesIn(path.join(nas, 'manifests')).some((row) => row.event === 'removed'));
  const shared = expected.filter((frame) => frame.sha256 === victim.sha256 && frame.tier === victim.tier).length;
  const alive = await query(nas, `SELECT id FROM manifest
    QUALIFY row_number() OVER (PARTITION BY store, id ORDER BY row DESC) = 1 AND key IS NOT NULL`);
  assert.strictEqual(alive.length, expected.length - shared);
  assert.ok(!alive.some((row) => row.id === victim.id));
  const validate = rowValidator();
  for (const row of linesIn(path.join(nas, 'manifests'))) assert.ok(validate(row), JSON.stringify(validate.errors));
  console.log(`photos ${PHOTOS}, frames ${expected.length}, parts ${partsIn(nas).length} and ${partsIn(download).length}`);
  assert.strictEqual(await stop(daemon), 0, 'SIGTERM did not end well');
  await stop(azurite);
});
