// The README's way to point creel at a camera: ffmpeg writes JPEGs into a directory that creel watches, and each is
// deleted only after it is durable. The line is taken from the README itself, with a test picture for the camera.
import assert from 'node:assert';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { controlAnswers, main, run, runJson, scratch, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const FRAMES = 12;

function readmeLine(inbox) {
  const readme = fs.readFileSync(path.join(sourceDir, 'README.md'), 'utf8');
  const [line] = readme.match(/^ffmpeg [^\n]*\\\n[^\n]*$/m);
  const made = line.replace('\\\n', ' ')
    .replace('-rtsp_transport tcp -i rtsp://CAMERA/stream', `-loglevel error -re -f lavfi -i testsrc2=size=640x360:rate=4`)
    .replace('fps=2', 'fps=4').replace('/srv/inbox', inbox)
    .replace('-f image2', `-f image2 -frames:v ${FRAMES}`);
  assert.ok(/%0?\d*d/.test(made), 'a name of its own for each frame: seconds alone would let one overwrite another');
  assert.ok(made.includes('testsrc2') && made.includes(inbox) && made.includes('-frames:v'), `the README's line changed: ${made}`);
  return made;
}

await main(async () => {
  const dir = scratch('ffmpeg');
  const inbox = path.join(dir, 'inbox');
  fs.mkdirSync(inbox);
  const config = writeConfig(dir, `
device: {id: ffmpeg, clock: trusted}
cameras: {dock: {source: "directory:${inbox}", after: delete}}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
web: {listen: "off"}
ingest: {listen: "off"}
`);
  const daemon = await startDaemon(config, controlAnswers(config));
  const ffmpeg = spawn('sh', ['-c', readmeLine(inbox)], { stdio: 'inherit' });
  const status = await until('all frames', () => {
    const now = runJson('status', '--json', '--config', config);
    const [camera] = now.cameras;
    return ffmpeg.exitCode !== null && camera.kept + camera.rejected === FRAMES && fs.readdirSync(inbox).length === 0 ? now : null;
  }, 60000);
  assert.strictEqual(ffmpeg.exitCode, 0);
  const stored = status.store.annotated.frames + status.store.unannotated.frames;
  assert.strictEqual(stored, status.cameras[0].kept);
  assert.ok(stored > 0, 'nothing was kept');
  assert.strictEqual(await stop(daemon), 0);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
  console.log(`frames written ${FRAMES}, kept ${stored}, left in the inbox 0`);
});
