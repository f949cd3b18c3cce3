// creel export: COCO and YOLO data sets agree with what `creel ls --json` says, box for box; the same frames give the
// same bytes with and without the daemon; pictures are copied byte for byte or named where the remote has them; what is
// interrupted leaves no folder.
import assert from 'node:assert';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  answers, creel, curlScore, freePort, main, modelDir, photos, run, runJson, scratch, sha256, sleep, startDaemon, stop,
  writeConfig,
} from '../lib.mjs';

const PHOTOS = 40;
const LEAST = 0.3;

const near = (a, b, room, what) => assert.ok(Math.abs(a - b) <= room, `${what}: ${a} is not ${b}`);

function tree(dir) {
  return fs.readdirSync(dir, { recursive: true }).filter((name) => fs.statSync(path.join(dir, name)).isFile()).sort()
    .map((name) => `${name} ${sha256(fs.readFileSync(path.join(dir, name)))}`);
}

// What should be exported, worked out from ls alone: a picture a hash, its first frame, boxes from LEAST on, in pixels.
function expected(frames) {
  const pictures = new Map();
  for (const frame of [...frames].sort((a, b) => (a.captured + a.id < b.captured + b.id ? -1 : 1))) {
    if (pictures.has(frame.sha256)) continue;
    const boxes = frame.detections.filter((found) => found.confidence >= LEAST).map(({ class: name, confidence, box }) => {
      const [left, top] = [Math.max(box.x, 0), Math.max(box.y, 0)];
      const [right, bottom] = [Math.min(box.x + box.w, 1), Math.min(box.y + box.h, 1)];
      return { name, confidence, left, top, width: right - left, height: bottom - top };
    }).filter((box) => box.width > 0 && box.height > 0);
    pictures.set(frame.sha256, { ...frame, boxes });
  }
  return pictures;
}

function checkCoco(dir, pictures, names, isCopy) {
  const coco = JSON.parse(fs.readFileSync(path.join(dir, 'annotations.json'), 'utf8'));
  assert.deepStrictEqual(coco.categories.map((one) => one.id), coco.categories.map((_, i) => i + 1));
  assert.deepStrictEqual(coco.categories.slice(0, names.length).map((one) => one.name), names);
  assert.strictEqual(coco.images.length, pictures.size);
  assert.strictEqual(new Set(coco.images.map((one) => one.id)).size, pictures.size);
  assert.strictEqual(new Set(coco.annotations.map((one) => one.id)).size, coco.annotations.length);
  const category = new Map(coco.categories.map((one) => [one.id, one.name]));
  let boxes = 0;
  let before = '';
  for (const image of coco.images) {
    const file = isCopy ? path.join(dir, image.file_name) : image.file_name;
    const hash = path.basename(image.file_name).replace(/\.jpg$/, '');
    const picture = pictures.get(hash);
    assert.ok(picture, `${image.file_name} is no picture of the store`);
    assert.strictEqual(sha256(fs.readFileSync(file)), hash);
    assert.deepStrictEqual([image.width, image.height, image.creel_frame], [picture.width, picture.height, picture.id]);
    assert.ok(before <= image.date_captured, 'pictures are not in the order of time');
    before = image.date_captured;
    const found = coco.annotations.filter((one) => one.image_id === image.id);
    assert.strictEqual(found.length, picture.boxes.length, image.file_name);
    found.forEach((one, i) => {
      const box = picture.boxes[i];
      const [x, y, w, h] = one.bbox;
      assert.strictEqual(category.get(one.category_id), box.name);
      near(x, box.left * picture.width, 1e-3, 'x');
      near(y, box.top * picture.height, 1e-3, 'y');
      near(w, box.width * picture.width, 1e-3, 'width');
      near(h, box.height * picture.height, 1e-3, 'height');
      near(one.area, w * h, 1e-3, 'area');
      near(one.score, box.confidence, 1e-6, 'score');
      assert.strictEqual(one.iscrowd, 0);
      assert.ok(x >= 0 && y >= 0 && x + w <= picture.width + 1e-6 && y + h <= picture.height + 1e-6, 'a box reaches out');
      boxes++;
    });
  }
  assert.strictEqual(coco.annotations.length, boxes);
  return boxes;
}

function checkYolo(dir, pictures, names) {
  const lines = (name) => fs.readFileSync(path.join(dir, name), 'utf8').split('\n').filter(Boolean);
  const data = Object.fromEntries(lines('obj.data').map((line) => line.split(' = ')));
  const classes = lines(data.names);
  assert.strictEqual(Number(data.classes), classes.length);
  assert.deepStrictEqual(classes.slice(0, names.length), names);
  assert.strictEqual(data.valid, 'train.txt');
  const train = lines(data.train);
  assert.strictEqual(train.length, pictures.size);
  for (const name of train) {
    const hash = path.basename(name, '.jpg');
    const picture = pictures.get(hash);
    assert.strictEqual(sha256(fs.readFileSync(path.join(dir, name))), hash);
    const rows = lines(name.replace(/\.jpg$/, '.txt')); // where Darknet looks for it
    assert.strictEqual(rows.length, picture.boxes.length);
    rows.forEach((row, i) => {
      const box = picture.boxes[i];
      assert.match(row, /^\d+( [01]\.\d{6,}){4}$/);
      const [index, cx, cy, w, h] = row.split(' ').map(Number);
      assert.strictEqual(classes[index], box.name);
      near(cx, box.left + box.width / 2, 1e-6, 'cx');
      near(cy, box.top + box.height / 2, 1e-6, 'cy');
      near(w, box.width, 1e-6, 'w');
      near(h, box.height, 1e-6, 'h');
    });
  }
}

await main(async () => {
  const dir = scratch('export');
  const nas = path.join(dir, 'nas');
  const ingestPort = await freePort();
  const webPort = await freePort();
  const model = modelDir(dir);
  const config = writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${model}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 2GiB, min_free: off}
web: {listen: "127.0.0.1:${webPort}"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
sync: {remotes: {nas: {type: directory, path: ${nas}, prefix: line-3/}}}
`);
  const daemon = await startDaemon(config, answers(`http://127.0.0.1:${ingestPort}/`));
  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), PHOTOS);
  for (const file of [...files, ...files.slice(0, 3)]) { // some twice: equal bytes are one picture
    await curlScore(ingestPort, file, '?wait=stored&stream=door');
  }
  assert.strictEqual(run('sync', '--wait', '--timeout', '60', '--config', config).status, 0);
  const all = run('ls', '--json', '--limit', '500', '--config', config).stdout.toString().trim().split('\n')
    .map((line) => JSON.parse(line));
  const names = fs.readFileSync(path.join(model, fs.readdirSync(model).find((name) => name.endsWith('.names'))), 'utf8')
    .split('\n').map((line) => line.trim()).filter(Boolean);
  const out = (name) => path.join(dir, name);
  const options = (name) => ['--out', out(name), '--confidence', String(LEAST), '--since', '7d', '--config', config];

  const first = runJson('export', 'coco', '--json', ...options('coco'));
  const pictures = expected(all);
  assert.ok(all.length > pictures.size, 'no bytes were kept twice: the test shows less than it says');
  const boxes = checkCoco(out('coco'), pictures, names, true);
  assert.ok(boxes > 10, 'hardly a box: the test shows nothing');
  assert.deepStrictEqual([first.pictures, first.boxes, first.left_out], [pictures.size, boxes, 0]);
  runJson('export', 'yolo', '--json', ...options('yolo'));
  checkYolo(out('yolo'), pictures, names);
  runJson('export', 'coco', '--json', '--images', 'ref', '--remote', 'nas', ...options('ref'));
  assert.strictEqual(checkCoco(out('ref'), pictures, names, false), boxes);
  assert.deepStrictEqual(fs.readdirSync(out('ref')).filter((name) => name !== 'images'), ['annotations.json']);
  for (const tier of ['annotated', 'unannotated']) {
    const some = expected(all.filter((frame) => frame.tier === tier));
    if (some.size === 0) {
      assert.strictEqual(run('export', 'coco', '--tier', tier, ...options(tier)).status, 3);
      continue;
    }
    runJson('export', 'coco', '--json', '--tier', tier, ...options(tier));
    checkCoco(out(tier), some, names, true);
  }

  // The gallery's download is the same data set, byte for byte.
  for (const format of ['coco', 'yolo']) {
    runJson('export', format, '--json', '--out', out(`whole-${format}`), '--config', config);
    const answer = await fetch(`http://127.0.0.1:${webPort}/export?format=${format}&order=oldest`);
    assert.strictEqual(answer.status, 200);
    fs.mkdirSync(out(`web-${format}`));
    const tar = spawnSync('tar', ['-x', '-C', out(`web-${format}`)], { input: Buffer.from(await answer.arrayBuffer()) });
    assert.strictEqual(tar.status, 0, tar.stderr.toString());
    assert.deepStrictEqual(tree(out(`web-${format}`)), tree(out(`whole-${format}`)));
  }

  // What cannot be done leaves nothing behind, and says why.
  assert.strictEqual(run('export', 'coco', ...options('coco')).status, 8);
  assert.strictEqual(run('export', 'voc', ...options('voc')).status, 2);
  assert.strictEqual(run('export', 'coco', '--images', 'ref', '--remote', 'none', ...options('no')).status, 2);
  assert.strictEqual(run('export', 'coco', '--camera', 'elsewhere', ...options('none')).status, 3);
  assert.strictEqual(run('export', 'coco', '--out', path.join(dir, 'not/there'), '--config', config).status, 3);
  for (let ms = 5; ms < 60; ms += 9) {
    const child = spawn(creel, ['export', 'coco', ...options(`cut-${ms}`)], { stdio: 'ignore' });
    const gone = new Promise((resolve) => child.once('exit', resolve));
    await sleep(ms);
    child.kill('SIGKILL');
    await gone;
    if (fs.existsSync(out(`cut-${ms}`))) checkCoco(out(`cut-${ms}`), pictures, names, true);
  }

  assert.strictEqual(await stop(daemon), 0);
  runJson('export', 'coco', '--json', ...options('coco-2'));
  runJson('export', 'yolo', '--json', ...options('yolo-2'));
  assert.deepStrictEqual(tree(out('coco-2')), tree(out('coco')));
  assert.deepStrictEqual(tree(out('yolo-2')), tree(out('yolo')));
  const darknet = spawnSync('sh', ['-c', `cd '${out('yolo')}' && wc -l < train.txt`]);
  console.log(`frames ${all.length}, pictures ${darknet.stdout.toString().trim()}, boxes ${boxes}, classes ${names.length}`);
});
